"""The vocabulary: entities that reports speak of, their names in several languages, their superclasses."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FORMAT = "kmerl vocabulary 1"
LANGUAGES = ("en", "de", "sv", "abbreviations", "names")
MATCHED = ("en", "de", "sv", "abbreviations")
CODES = ("scp", "snomed", "merl")
MAX_EXPANSIONS = 20000


class VocabularyError(ValueError):
    """A vocabulary file with faults; `faults` lists all of them, each with its place."""

    def __init__(self, source: str, faults: Iterable[str]):
        self.faults = list(faults)
        shown = self.faults[:20]
        more = [] if len(self.faults) <= 20 else [f"and {len(self.faults) - 20} more"]
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        super().__init__(f"{source}: {count} in the vocabulary:\n  " + "\n  ".join(shown + more))


@dataclass(frozen=True)
class Entity:
    """One entity of a vocabulary.

    Attributes
    ----------
    name : str
        Canonical name.
    synonyms : tuple of str
        Every other name, all languages together.
    superclasses : tuple of str
        Canonical names of the entities directly above.
    codes : dict of str to tuple of str
        Codes by system: "scp" (SCP-ECG as in PTB-XL), "snomed" (SNOMED CT as in the PhysioNet
        Challenges), "merl" (class codes of MERL's tables).
    languages : dict of str to tuple of str
        The synonyms by language: "en", "de", "sv", "abbreviations", and "names", which are looked up
        but not searched for in texts.
    patterns : tuple of str
        What else is searched for in texts (docs/entities.md).
    """

    name: str
    synonyms: tuple[str, ...] = ()
    superclasses: tuple[str, ...] = ()
    codes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    languages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    patterns: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash(self.name)


def normalise(name: str) -> str:
    """The key under which a name is looked up: case folded, blanks collapsed."""
    return " ".join(name.split()).casefold()


class Vocabulary:
    """Entities with names, superclasses and codes; immutable.

    Made by `Vocabulary.default`, `Vocabulary.load` or `Vocabulary.from_json`. Iterating gives the
    canonical names in order, which is the order of label columns; ``vocabulary[name]`` takes any name
    or synonym in any case.

    Parameters
    ----------
    entities : iterable of Entity
    words : mapping of str to list of str, optional
        Word lists that patterns refer to as ``{name}``.
    name : str, optional
        What to call the vocabulary in messages.

    Raises
    ------
    VocabularyError
        A ValueError that lists every fault: names used twice, unknown superclasses, cycles,
        patterns that cannot be read.

    Notes
    -----
    SPEC section 8; Section 2.4 of the paper. The file format is documented in docs/entities.md.
    """

    def __init__(
        self,
        entities: Iterable[Entity],
        words: Mapping[str, Iterable[str]] | None = None,
        name: str = "vocabulary",
        *,
        _places: list[str] | None = None,
        _source: str | None = None,
    ):
        self._entities = tuple(entities)
        self._words = {key: tuple(value) for key, value in (words or {}).items()}
        self.name = name
        places = _places or [f"entity {i + 1}" for i in range(len(self._entities))]
        faults: list[str] = []
        self._index = self._index_names(places, faults)
        self._above = self._close(places, faults)
        self._check_patterns(places, faults)
        if not self._entities:
            faults.append("there is no entity")
        if faults:
            raise VocabularyError(_source or f"vocabulary '{name}'", faults)

    # ---- making and saving ------------------------------------------------------------------------

    @classmethod
    def default(cls) -> Vocabulary:
        """The vocabulary that ships with kmerl: English, German and Swedish names of ECG findings."""
        return _default()

    @classmethod
    def load(cls, path: str | os.PathLike) -> Vocabulary:
        """Reads a vocabulary file.

        Parameters
        ----------
        path : path
            A JSON file as `save` writes it (docs/entities.md).

        Raises
        ------
        OSError
            The file cannot be read.
        VocabularyError
            The file has faults; all of them are listed with the line of their entity.
        """
        data = Path(path).read_bytes()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise VocabularyError(str(path), [f"line {line}: not UTF-8 text"]) from None
        return cls.from_json(text, source=str(path))

    @classmethod
    def from_json(cls, text: str, source: str = "vocabulary") -> Vocabulary:
        """Reads a vocabulary from the text of a vocabulary file; `source` is named in errors."""
        faults: list[str] = []

        def pairs(items):
            keys = [key for key, _ in items]
            for key in sorted({key for key in keys if keys.count(key) > 1}):
                faults.append(f'key "{key}" stands twice in one object')
            return dict(items)

        try:
            data = json.loads(text, object_pairs_hook=pairs)
        except json.JSONDecodeError as error:
            fault = f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
            raise VocabularyError(source, [fault]) from None
        except RecursionError:
            raise VocabularyError(source, ["not a vocabulary: nested too deeply"]) from None
        if not isinstance(data, dict):
            raise VocabularyError(source, [f"the file must hold one object, holds {_kind(data)}"])
        if data.get("format") != FORMAT:
            faults.append(f'"format" is {data.get("format")!r}, must be "{FORMAT}"')
        for key in sorted(set(data) - {"format", "name", "words", "entities"}):
            faults.append(f'unknown key "{key}", known are "format", "name", "words", "entities"')
        name = data.get("name", Path(source).stem)
        if not isinstance(name, str) or not name.strip():
            faults.append(f'"name" must be a text, is {_kind(name)}')
            name = "vocabulary"
        words = data.get("words", {})
        if not isinstance(words, dict):
            faults.append(f'"words" must be an object, is {_kind(words)}')
            words = {}
        for key, value in list(words.items()):
            if not _is_texts(value):
                faults.append(f'word list "{key}" must be a list of texts')
                del words[key]
        blocks = data.get("entities", [])
        if not isinstance(blocks, list):
            faults.append(f'"entities" must be a list, is {_kind(blocks)}')
            blocks = []
        lines = _entity_lines(text)
        entities, places = [], []
        for i, block in enumerate(blocks):
            place = f"line {lines[i]}" if len(lines) == len(blocks) else f"entity {i + 1}"
            entity = _entity(block, place, faults)
            if entity is not None:
                entities.append(entity)
                places.append(f'{place} ("{entity.name}")')
        try:
            vocabulary = cls(entities, words, name, _places=places, _source=source)
        except VocabularyError as error:
            raise VocabularyError(source, faults + error.faults) from None
        if faults:
            raise VocabularyError(source, faults)
        return vocabulary

    def to_json(self) -> str:
        """The vocabulary as the text of a vocabulary file: one entity a block, one key a line."""

        def line(indent: int, key: str, value) -> str:
            return " " * indent + f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"

        blocks = []
        for entity in self._entities:
            rows = [line(6, "name", entity.name)]
            if entity.superclasses:
                rows.append(line(6, "superclasses", list(entity.superclasses)))
            if entity.languages:
                rows.append(line(6, "synonyms", {k: list(v) for k, v in entity.languages.items()}))
            if entity.patterns:
                rows.append(line(6, "patterns", list(entity.patterns)))
            if entity.codes:
                rows.append(line(6, "codes", {k: list(v) for k, v in entity.codes.items()}))
            blocks.append("    {\n" + ",\n".join(rows) + "\n    }")
        words = ",\n".join(line(4, key, list(value)) for key, value in self._words.items())
        parts = [
            line(2, "format", FORMAT),
            line(2, "name", self.name),
            '  "words": {' + (f"\n{words}\n  " if words else "") + "}",
            '  "entities": [\n' + ",\n".join(blocks) + "\n  ]",
        ]
        return "{\n" + ",\n".join(parts) + "\n}\n"

    def save(self, path: str | os.PathLike) -> None:
        """Writes the vocabulary file, whole or not at all."""
        import tempfile

        path = Path(path)
        handle, temporary = tempfile.mkstemp(dir=path.parent or ".", prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(self.to_json())
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @functools.cached_property
    def hash(self) -> str:
        """SHA-256 of the vocabulary file, hexadecimal: two vocabularies are equal if their hashes are."""
        import hashlib

        return hashlib.sha256(self.to_json().encode("utf-8", "surrogatepass")).hexdigest()

    # ---- looking up -------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entities)

    def __iter__(self) -> Iterator[str]:
        return (entity.name for entity in self._entities)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and normalise(name) in self._index

    def __getitem__(self, name: str) -> Entity:
        return self._entities[self.index(name)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"<Vocabulary '{self.name}': {len(self)} entities>"

    @property
    def entities(self) -> tuple[Entity, ...]:
        """All entities in order."""
        return self._entities

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """The word lists that patterns refer to."""
        return dict(self._words)

    def index(self, name: str) -> int:
        """Position of an entity, its label column, by any name or synonym in any case.

        Raises
        ------
        KeyError
            No entity has this name.
        """
        if not isinstance(name, str):
            raise KeyError(f"an entity is looked up by its name, a text, got {_kind(name)}")
        try:
            return self._index[normalise(name)]
        except KeyError:
            import difflib

            near = difflib.get_close_matches(normalise(name), self._index, n=3, cutoff=0.75)
            hint = (
                f"; did you mean {' or '.join(repr(self._entities[self._index[n]].name) for n in near)}?"
                if near
                else ""
            )
            raise KeyError(f"{name!r} is no name or synonym in vocabulary '{self.name}'{hint}") from None

    def names(self) -> dict[str, str]:
        """Every name and synonym with the canonical name it stands for."""
        result = {}
        for entity in self._entities:
            for name in (entity.name, *entity.synonyms):
                result.setdefault(name, entity.name)
        return result

    # ---- superclasses -----------------------------------------------------------------------------

    def above(self, name: str) -> tuple[str, ...]:
        """All superclasses of an entity, of every level, in the vocabulary's order."""
        return tuple(self._entities[i].name for i in self._above[self.index(name)])

    def closure(self, names: Iterable[str]) -> tuple[str, ...]:
        """The entities named, with all their superclasses, in the vocabulary's order."""
        if isinstance(names, str):
            raise TypeError(f"names must be a list of names, got the single text {names!r}")
        rows: set[int] = set()
        for name in names:
            i = self.index(name)
            rows |= {i, *self._above[i]}
        return tuple(self._entities[i].name for i in sorted(rows))

    def superclass_names(self) -> tuple[str, ...]:
        """The entities that stand above others, in the vocabulary's order."""
        parents = {self.index(parent) for entity in self._entities for parent in entity.superclasses}
        return tuple(self._entities[i].name for i in sorted(parents))

    def without(self, names: Iterable[str]) -> Vocabulary:
        """A vocabulary without some entities, their synonyms and their superclass links.

        For zero-shot claims on classes that must not be seen in training (SPEC 8). What stood above a
        removed entity does not move below it: its subclasses lose that link.
        """
        if isinstance(names, str):
            raise TypeError(f"names must be a list of names, got the single text {names!r}")
        gone = {self.index(name) for name in names}
        kept = [i for i in range(len(self)) if i not in gone]
        entities = []
        for i in kept:
            entity = self._entities[i]
            superclasses = tuple(s for s in entity.superclasses if self.index(s) not in gone)
            entities.append(
                Entity(
                    entity.name,
                    entity.synonyms,
                    superclasses,
                    entity.codes,
                    entity.languages,
                    entity.patterns,
                )
            )
        return Vocabulary(entities, self._words, f"{self.name} without {len(gone)}")

    # ---- checks -----------------------------------------------------------------------------------

    def _index_names(self, places: list[str], faults: list[str]) -> dict[str, int]:
        index: dict[str, int] = {}
        for i, entity in enumerate(self._entities):
            key = normalise(entity.name)
            if key in index:
                faults.append(f'{places[i]}: name "{entity.name}" is also the name at {places[index[key]]}')
            index.setdefault(key, i)
        for i, entity in enumerate(self._entities):
            for synonym in entity.synonyms:
                key = normalise(synonym)
                if not key:
                    faults.append(f"{places[i]}: a synonym is empty")
                elif index.get(key, i) != i:
                    faults.append(f'{places[i]}: synonym "{synonym}" also stands at {places[index[key]]}')
                index.setdefault(key, i)
        return index

    def _close(self, places: list[str], faults: list[str]) -> list[tuple[int, ...]]:
        parents: list[list[int]] = []
        for i, entity in enumerate(self._entities):
            rows = []
            for superclass in entity.superclasses:
                at = self._index.get(normalise(superclass))
                if at is None:
                    faults.append(f'{places[i]}: superclass "{superclass}" is no entity of this vocabulary')
                else:
                    rows.append(at)
            parents.append(rows)
        above: list[tuple[int, ...] | None] = [None] * len(self._entities)
        for start in range(len(self._entities)):
            path: list[int] = []
            stack: list[tuple[int, int]] = [(start, 0)]
            while stack:
                i, k = stack.pop()
                if k == 0:
                    if above[i] is not None:
                        continue
                    path.append(i)
                if k < len(parents[i]):
                    stack.append((i, k + 1))
                    parent = parents[i][k]
                    if parent in path:
                        names = [self._entities[j].name for j in path[path.index(parent) :]] + [
                            self._entities[parent].name
                        ]
                        faults.append(f"{places[i]}: cycle of superclasses: " + " > ".join(names))
                        parents[i][k] = -1
                    elif parent >= 0 and above[parent] is None:
                        stack.append((parent, 0))
                else:
                    path.pop()
                    rows = {p for p in parents[i] if p >= 0}
                    above[i] = tuple(sorted(rows.union(*(above[p] or () for p in rows)) - {i}))
        return [rows or () for rows in above]

    def _check_patterns(self, places: list[str], faults: list[str]) -> None:
        unreadable = 0
        for name, items in self._words.items():
            for item in items:
                try:
                    expand(item, self._words, inline=True)
                except ValueError as error:
                    faults.append(f"word list {{{name}}}: {item!r}: {error}")
                    unreadable += 1
        if unreadable:
            return
        for i, entity in enumerate(self._entities):
            for pattern in entity.patterns:
                try:
                    expand(pattern, self._words)
                except ValueError as error:
                    faults.append(f"{places[i]}: pattern {pattern!r}: {error}")


@functools.lru_cache(maxsize=1)
def _default() -> Vocabulary:
    return Vocabulary.load(Path(__file__).parent / "data" / "vocabulary.json")


# ---- reading a file ---------------------------------------------------------------------------------


def _kind(value: object) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return kinds.get(type(value), type(value).__name__)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item.strip() for item in value)


def _entity_lines(text: str) -> list[int]:
    """Line on which each entity's block begins, or its name where it has one."""
    start = re.search(r'"entities"\s*:\s*\[', text)
    lines: list[int] = []
    if start is None:
        return lines
    decoder, at = json.JSONDecoder(), start.end()
    while True:
        at = re.compile(r"[\s,]*").match(text, at).end()
        if text[at : at + 1] in ("", "]"):
            return lines
        _, end = decoder.raw_decode(text, at)
        name = re.search(r'"name"\s*:', text[at:end])
        lines.append(text.count("\n", 0, at + (name.start() if name else 0)) + 1)
        at = end


def _entity(block: object, place: str, faults: list[str]) -> Entity | None:
    if not isinstance(block, dict):
        faults.append(f"{place}: an entity must be an object, is {_kind(block)}")
        return None
    name = block.get("name")
    if not isinstance(name, str) or not name.strip():
        faults.append(f'{place}: "name" must be a text, is {_kind(name)}')
        return None
    place = f'{place} ("{name}")'
    for key in sorted(set(block) - {"name", "superclasses", "synonyms", "patterns", "codes"}):
        faults.append(f'{place}: unknown key "{key}"')
    lists = {}
    for key in ("superclasses", "patterns"):
        value = block.get(key, [])
        if not _is_texts(value):
            faults.append(f'{place}: "{key}" must be a list of texts')
            value = []
        lists[key] = tuple(value)
    grouped = {}
    for key, allowed in (("synonyms", LANGUAGES), ("codes", CODES)):
        value = block.get(key, {})
        if not isinstance(value, dict):
            faults.append(f'{place}: "{key}" must be an object, is {_kind(value)}')
            value = {}
        grouped[key] = {}
        for group, items in value.items():
            if group not in allowed:
                faults.append(f'{place}: "{key}" has unknown group "{group}", known are {", ".join(allowed)}')
            elif not _is_texts(items):
                faults.append(f'{place}: "{key}", "{group}" must be a list of texts')
            else:
                grouped[key][group] = tuple(items)
    synonyms = tuple(dict.fromkeys(s for items in grouped["synonyms"].values() for s in items))
    return Entity(
        name, synonyms, lists["superclasses"], grouped["codes"], grouped["synonyms"], lists["patterns"]
    )


# ---- patterns -----------------------------------------------------------------------------------------


def expand(pattern: str, words: Mapping[str, Iterable[str]], inline: bool = False) -> list[str]:
    """All phrases a pattern stands for; word lists stay as ``{list}`` unless `inline`.

    Parameters
    ----------
    pattern : str
        Words between blanks; ``a|b`` one of them; ``[a b]`` or nothing; ``a~b`` joined, hyphenated or
        apart; ``{list}`` a word list; ``<a>`` must be there but is not part of the finding; ``=a`` this
        form only; ``+`` filler words; ``^`` and ``$`` start and end of a sentence.
    words : mapping
        Word lists.

    Raises
    ------
    ValueError
        The pattern cannot be read, or stands for too many phrases.
    """
    return list(dict.fromkeys(" ".join(phrase) for phrase in _Pattern(pattern, words, inline).read()))


class _Pattern:
    """Recursive descent over one pattern; every part is a list of phrases, a phrase a tuple of words."""

    def __init__(
        self,
        pattern: str,
        words: Mapping[str, Iterable[str]],
        inline: bool = False,
        open_lists: tuple[str, ...] = (),
    ):
        self.text, self.words, self.at = pattern, words, 0
        self.inline, self.open_lists = inline, open_lists

    def read(self) -> list[tuple[str, ...]]:
        phrases = self.sequence("")
        if self.at < len(self.text):
            raise ValueError(f"'{self.text[self.at]}' without its opening bracket")
        phrases = [phrase for phrase in phrases if phrase]
        if not phrases:
            raise ValueError("stands for nothing")
        return phrases

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def sequence(self, closing: str) -> list[tuple[str, ...]]:
        phrases: list[tuple[str, ...]] = [()]
        while True:
            while self.peek() == " ":
                self.at += 1
            if self.peek() in ("", "]", ">"):
                break
            unit = self.alternatives()
            if len(phrases) * len(unit) > MAX_EXPANSIONS:
                raise ValueError(f"stands for more than {MAX_EXPANSIONS} phrases")
            phrases = [a + b for a in phrases for b in unit]
        if closing and self.peek() != closing:
            raise ValueError(f"'{closing}' is missing")
        return phrases

    def alternatives(self) -> list[tuple[str, ...]]:
        result = self.joined()
        while self.peek() == "|":
            self.at += 1
            result = result + self.joined()
        return result

    def joined(self) -> list[tuple[str, ...]]:
        start = self.at
        left = self.atom(self.inline)
        if self.peek() == "~":  # a list must be spelled out to be joined with its neighbour
            self.at = start
            left = self.atom(True)
        while self.peek() == "~":
            self.at += 1
            right = self.atom(True)
            apart = [a + b for a in left for b in right]
            together = [
                a[:-1] + (a[-1] + b[0],) + b[1:]
                for a in left
                for b in right
                if a and b and a[-1][-1:].isalnum() and b[0][:1].isalnum()
            ]
            left = apart + together
            if len(left) > MAX_EXPANSIONS:
                raise ValueError(f"stands for more than {MAX_EXPANSIONS} phrases")
        return left

    def atom(self, inline: bool) -> list[tuple[str, ...]]:
        c = self.peek()
        if c == "[":
            self.at += 1
            inside = self.sequence("]")
            self.at += 1
            return inside + [()]
        if c == "<":
            self.at += 1
            inside = self.sequence(">")
            self.at += 1
            return [tuple(word if word in "+^$" else f"<{word}>" for word in phrase) for phrase in inside]
        if c == "{":
            end = self.text.find("}", self.at)
            if end < 0:
                raise ValueError("'}' is missing")
            name = self.text[self.at + 1 : end]
            self.at = end + 1
            if name not in self.words:
                raise ValueError(f"there is no word list {{{name}}}")
            if not inline:
                return [(f"{{{name}}}",)]
            if name in self.open_lists:
                raise ValueError(f"word list {{{name}}} contains itself")
            result: list[tuple[str, ...]] = []
            for item in self.words[name]:
                result += _Pattern(item, self.words, True, (*self.open_lists, name)).read()
            return list(dict.fromkeys(result))
        start = self.at
        while self.peek() not in ("", " ", "|", "~", "[", "]", "<", ">", "{", "}"):
            self.at += 1
        if self.at == start:
            raise ValueError(f"a word was expected at '{self.text[start : start + 10]}'")
        return [(self.text[start : self.at],)]
