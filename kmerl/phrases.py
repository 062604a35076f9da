"""Phrases that are no entities: negations, hedges, remarks, decoys; the shipped ones or a file of one's own."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from . import _kmerl
from .patterns import VocabularyError, expand, kind_of, read_object, read_text, texts_fault

FORMAT = "kmerl phrases 1"
SIDES = ("right", "left", "either", "list")
REMARKS = ("technical", "comparison", "advice", "comment")
LISTS = ("endings", "fillers", "connectors", "barriers", "abbreviations", "ordinal", "decoys", "tails")
GROUPS = {"words": None, "negation": SIDES, "hedge": SIDES, "remarks": REMARKS}
PATTERNS = ("negation", "hedge", "remarks", "decoys", "tails")
_ENTITY, _NEGATION, _HEDGE, _REMARK, _DECOY, _TAIL, _LIST = range(7)
_WEAK = 1
_SIDES = {"right": 1, "left": 2, "either": 3, "list": 4}
_FLAGS = {"fillers": 1, "connectors": 2, "barriers": 4, "abbreviations": 8, "ordinal": 16}


class Phrases:
    """What surrounds findings in a text: negations, hedges, filler words, remarks; immutable.

    Made by `Phrases.default` or `Phrases.load`. A vocabulary reads texts with its own phrases
    (`Vocabulary.with_phrases`), else with the shipped ones.

    Attributes
    ----------
    name : str
        "kmerl" for the shipped ones, else what the file says, or its name.
    data : dict
        The file's content (docs/entities.md).

    Raises
    ------
    VocabularyError
        A ValueError that lists every fault with the key it stands under.
    """

    def __init__(self, data: Mapping, name: str = "phrases", *, _source: str | None = None):
        faults = _faults(data)
        source = _source or f"phrases '{name}'"
        if faults:
            raise VocabularyError(source, faults, "phrases")
        self.data = dict(data)
        self.name = name
        try:  # what only the core knows: too many words in a phrase
            words, entries = self.compiled({})
            nothing_above = np.zeros(0, np.int32), np.zeros(1, np.int64)
            _kmerl.Lexicon(self.data["endings"], words, entries, *nothing_above)
        except (ValueError, OverflowError) as error:
            raise VocabularyError(source, [str(error)], "phrases") from None

    @classmethod
    def default(cls) -> Phrases:
        """The phrases that ship with kmerl: English, German and Swedish."""
        return _default()

    @classmethod
    def load(cls, path: str | os.PathLike) -> Phrases:
        """Reads a phrases file: ``kmerl/data/phrases.json``, copied and edited.

        Raises
        ------
        OSError
            The file cannot be read.
        VocabularyError
            The file has faults; all of them are listed.
        """
        return cls.from_json(read_text(path, "phrases"), source=str(path))

    @classmethod
    def from_json(cls, text: str, source: str = "phrases") -> Phrases:
        """Reads phrases from the text of a phrases file; `source` is named in errors."""
        faults: list[str] = []
        data = read_object(text, source, faults, "phrases")
        if data.get("format") != FORMAT:
            faults.append(f'"format" is {data.get("format")!r}, must be "{FORMAT}"')
        name = data.get("name", Path(source).stem)
        if not isinstance(name, str) or not name.strip():
            faults.append(f'"name" must be a text, is {kind_of(name)}')
        body = {key: value for key, value in data.items() if key not in ("format", "name")}
        if faults:
            raise VocabularyError(source, faults + _faults(body), "phrases")
        return cls(body, name, _source=source)

    def to_json(self) -> str:
        """The phrases as the text of a phrases file."""
        rows = {"format": FORMAT, "name": self.name, **self.data}
        lines = [f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in rows.items()]
        return "{\n" + ",\n".join(lines) + "\n}"

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the content, hexadecimal; the name is no part of it."""
        text = json.dumps(self.data, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def shipped(self) -> bool:
        """Whether these are the phrases that ship with kmerl."""
        return self is _default() or self.hash == _default().hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Phrases) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"<Phrases '{self.name}'>"

    def compiled(self, numbers: dict) -> tuple[list, list]:
        """(words with flags, phrases) as the core takes them; `numbers` counts the word lists."""
        data, named = self.data, self.data["words"]
        words = [(word, flag) for key, flag in _FLAGS.items() for word in data[key]]
        entries: list[tuple[str, int, int, int]] = []
        references = add_lists(entries, numbers, "phrases", named)
        for kind, key in ((_NEGATION, "negation"), (_HEDGE, "hedge")):
            for side, patterns in data[key].items():
                add_patterns(entries, patterns, named, references, kind, _SIDES[side])
        for topic, patterns in data["remarks"].items():
            add_patterns(entries, patterns, named, references, _REMARK, _WEAK if topic == "comment" else 0)
        add_patterns(entries, data["decoys"], named, references, _DECOY)
        add_patterns(entries, data["tails"], named, references, _TAIL)
        return words, [entry for entry in entries if entry[0].strip()]


def add_lists(entries: list, numbers: dict, owner: str, named: Mapping) -> dict[str, str]:
    """Adds word lists to the core's phrases; returns how the core refers to each."""
    references = {}
    for name, items in named.items():
        number = numbers.setdefault((owner, name), len(numbers))
        references["{" + name + "}"] = "{" + str(number) + "}"
        entries.extend(
            (phrase, _LIST, 0, number) for item in items for phrase in expand(item, named, inline=True)
        )
    return references


def add_patterns(entries: list, patterns, named: Mapping, references: Mapping, kind: int, side: int = 0,
                 target: int = 0) -> None:  # fmt: skip
    """Adds all phrases that patterns stand for to the core's."""
    for pattern in patterns:
        for phrase in expand(pattern, named):
            for name, reference in references.items():
                phrase = phrase.replace(name, reference)
            entries.append((phrase, kind, side, target))


@functools.lru_cache(maxsize=1)
def _default() -> Phrases:
    path = Path(__file__).parent / "data" / "phrases.json"
    return Phrases.from_json(path.read_text(encoding="utf-8"), "kmerl")


def _faults(data: Mapping) -> list[str]:
    faults = []
    for key in sorted(set(data) - set(LISTS) - set(GROUPS)):
        faults.append(f'unknown key "{key}", known are {", ".join(sorted({*LISTS, *GROUPS}))}')
    for key in (*LISTS, *GROUPS):
        if key not in data:
            faults.append(f'"{key}" is missing')
    places: dict[str, list] = {}
    for key in LISTS:
        if key in data:
            places[f'"{key}"'] = data[key]
    for key, allowed in GROUPS.items():
        group = data.get(key, {})
        if not isinstance(group, dict):
            faults.append(f'"{key}" must be an object, is {kind_of(group)}')
            continue
        for name, items in group.items():
            if allowed is not None and name not in allowed:
                faults.append(f'"{key}" has unknown group "{name}", known are {", ".join(allowed)}')
            places[f'"{key}", "{name}"'] = items
    good = True
    for place, items in places.items():
        fault = texts_fault(items)
        if fault:
            faults.append(f"{place} {fault}")
            good = False
    words = data.get("words", {})
    if not good or not isinstance(words, dict):
        return faults
    for place, items in places.items():
        if place.split('"')[1] in ("words", *PATTERNS):
            for item in items:
                try:
                    expand(item, words, inline=place.startswith('"words"'))
                except ValueError as error:
                    faults.append(f"{place}: {item!r}: {error}")
    return faults
