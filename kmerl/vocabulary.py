"""The vocabulary: entities that reports speak of, their names in several languages, their superclasses."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .patterns import VocabularyError, expand, has_surrogate, kind_of, read_object, read_text, texts_fault
from .phrases import Phrases

FORMAT = "kmerl vocabulary 1"
LANGUAGES = ("en", "de", "sv", "abbreviations", "names")
MATCHED = ("en", "de", "sv", "abbreviations")
CODES = ("scp", "snomed", "merl")
MAX_WORDS = 16  # KM_LEXICON_WORDS
KEYS = ("format", "name", "words", "entities", "aside", "phrases")


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
    phrases : Phrases, optional
        Negations, hedges and other phrases to read texts with; by default those that ship with kmerl.
    aside : iterable of Entity
        Entities that are none of the vocabulary's, but are still read in texts: their words bound negations
        and displace shorter names as before. What `without` takes out is kept here.

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
        phrases: Phrases | None = None,
        aside: Iterable[Entity] = (),
        _places: list[str] | None = None,
        _source: str | None = None,
    ):
        self._entities = tuple(entities)
        self._words = {key: tuple(value) for key, value in (words or {}).items()}
        self.name = name
        self._phrases = None if phrases is None or phrases.shipped else phrases
        self._aside = tuple(aside)
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
    def load(cls, path: str | os.PathLike, phrases: str | os.PathLike | None = None) -> Vocabulary:
        """Reads a vocabulary file.

        Parameters
        ----------
        path : path
            A JSON file as `save` writes it (docs/entities.md).
        phrases : path, optional
            A phrases file to read texts with, see `with_phrases`.

        Raises
        ------
        OSError
            The file cannot be read.
        VocabularyError
            The file has faults; all of them are listed with the line of their entity.
        """
        vocabulary = cls.from_json(read_text(path, "vocabulary"), source=str(path))
        return vocabulary if phrases is None else vocabulary.with_phrases(phrases)

    @classmethod
    def from_json(cls, text: str, source: str = "vocabulary") -> Vocabulary:
        """Reads a vocabulary from the text of a vocabulary file; `source` is named in errors."""
        faults: list[str] = []
        data = read_object(text, source, faults, "vocabulary")
        if data.get("format") != FORMAT:
            faults.append(f'"format" is {data.get("format")!r}, must be "{FORMAT}"')
        for key in sorted(set(data) - set(KEYS)):
            faults.append(f'unknown key "{key}", known are {", ".join(KEYS)}')
        name = data.get("name", Path(source).stem)
        if not isinstance(name, str) or not name.strip():
            faults.append(f'"name" must be a text, is {kind_of(name)}')
            name = "vocabulary"
        words = data.get("words", {})
        if not isinstance(words, dict):
            faults.append(f'"words" must be an object, is {kind_of(words)}')
            words = {}
        for key, value in list(words.items()):
            if fault := texts_fault(value):
                faults.append(f'word list "{key}" {fault}')
                del words[key]
        blocks = {"entities": data.get("entities", []), "aside": data.get("aside", [])}
        for key, block in blocks.items():
            if not isinstance(block, list):
                faults.append(f'"{key}" must be a list, is {kind_of(block)}')
                blocks[key] = []
        lines = _entity_lines(text)
        entities, places = [], []
        for i, block in enumerate(blocks["entities"]):
            place = f"line {lines[i]}" if len(lines) == len(blocks["entities"]) else f"entity {i + 1}"
            entity = _entity(block, place, faults)
            if entity is not None:
                entities.append(entity)
                places.append(f'{place} ("{entity.name}")')
        aside = [_entity(block, f"aside {i + 1}", faults) for i, block in enumerate(blocks["aside"])]
        phrases = None
        if "phrases" in data:
            try:
                phrases = Phrases.from_json(json.dumps(data["phrases"]), f"{source}, phrases")
            except VocabularyError as error:
                faults += [f'"phrases": {fault}' for fault in error.faults]
        try:
            vocabulary = cls(
                entities, words, name, phrases=phrases, aside=[one for one in aside if one is not None],
                _places=places, _source=source,
            )  # fmt: skip
        except VocabularyError as error:
            raise VocabularyError(source, faults + error.faults) from None
        if faults:
            raise VocabularyError(source, faults)
        return vocabulary

    def to_json(self) -> str:
        """The vocabulary as the text of a vocabulary file: one entity a block, one key a line."""

        def line(indent: int, key: str, value) -> str:
            return " " * indent + f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"

        def blocks(entities) -> str:
            found = []
            for entity in entities:
                rows = [line(6, "name", entity.name)]
                if entity.superclasses:
                    rows.append(line(6, "superclasses", list(entity.superclasses)))
                if entity.languages:
                    rows.append(line(6, "synonyms", {k: list(v) for k, v in entity.languages.items()}))
                if entity.patterns:
                    rows.append(line(6, "patterns", list(entity.patterns)))
                if entity.codes:
                    rows.append(line(6, "codes", {k: list(v) for k, v in entity.codes.items()}))
                found.append("    {\n" + ",\n".join(rows) + "\n    }")
            return "[\n" + ",\n".join(found) + "\n  ]"

        words = ",\n".join(line(4, key, list(value)) for key, value in self._words.items())
        parts = [
            line(2, "format", FORMAT),
            line(2, "name", self.name),
            '  "words": {' + (f"\n{words}\n  " if words else "") + "}",
            '  "entities": ' + blocks(self._entities),
        ]
        if self._aside:
            parts.append('  "aside": ' + blocks(self._aside))
        if self._phrases is not None:
            parts.append('  "phrases": ' + self._phrases.to_json().replace("\n", "\n  "))
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

    @property
    def label(self) -> str:
        """Name and hash, for messages about two vocabularies: they may have the same name."""
        return f"{self.name!r} ({self.hash[:12]})"

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
    def phrases(self) -> Phrases:
        """The negations, hedges and other phrases that texts are read with."""
        return Phrases.default() if self._phrases is None else self._phrases

    @property
    def aside(self) -> tuple[Entity, ...]:
        """Entities that are read in texts, and are none of the vocabulary's."""
        return self._aside

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
            raise KeyError(f"an entity is looked up by its name, a text, got {kind_of(name)}")
        try:
            return self._index[normalise(name)]
        except KeyError:
            import difflib

            near = difflib.get_close_matches(normalise(name), self._index, n=3, cutoff=0.75)
            names = dict.fromkeys(self._entities[self._index[n]].name for n in near)
            hint = f"; did you mean {' or '.join(map(repr, names))}?" if near else ""
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
        removed entity does not move below it: its subclasses, which stay, lose that link. The removed ones
        are still read in texts (`aside`), so that no shorter name is found in their words.
        """
        if isinstance(names, str):
            raise TypeError(f"names must be a list of names, got the single text {names!r}")
        gone = {self.index(name) for name in names}
        kept = []
        for i, entity in enumerate(self._entities):
            if i not in gone:
                superclasses = tuple(s for s in entity.superclasses if self.index(s) not in gone)
                kept.append(dataclasses.replace(entity, superclasses=superclasses))
        taken = [dataclasses.replace(self._entities[i], superclasses=()) for i in sorted(gone)]
        return self._like(kept, f"{self.name} without {len(gone)}", (*self._aside, *taken))

    def unlinked(self, kept: Iterable[str] | None = None) -> Vocabulary:
        """The same entities without any superclass (Table 2b of the paper); those not `kept` set aside."""
        rows = range(len(self)) if kept is None else {self.index(name) for name in kept}
        plain = [dataclasses.replace(entity, superclasses=()) for entity in self._entities]
        entities = [entity for i, entity in enumerate(plain) if i in rows]
        aside = [entity for i, entity in enumerate(plain) if i not in rows]
        return self._like(entities, f"{self.name}, no superclasses", (*self._aside, *aside))

    def unmerged(self, surfaces: Mapping[str, Iterable[str]]) -> Vocabulary:
        """Each name that texts use as an entity of its own, under the superclasses of what it stands for
        (the row without merging in Table 2b of the paper).

        Parameters
        ----------
        surfaces : mapping of str to iterable of str
            For each name found in texts the entities of this vocabulary that it stands for there.

        Returns
        -------
        Vocabulary
            The names in alphabetical order, without synonyms, then the superclasses above them that no text
            names. A name that is a superclass's own is that superclass.
        """
        parents = {self[name].name: self[name] for name in self.superclass_names()}
        linked: dict[str, tuple[str, ...]] = {}
        for surface in sorted(surfaces):
            own = self[surface].name if surface in self else None
            if own in parents and normalise(own) == normalise(surface):
                linked[own] = parents[own].superclasses
                continue
            found: dict[str, None] = {}
            for name in sorted(self[name].name for name in surfaces[surface]):
                found.update(dict.fromkeys([name] if name in parents else self[name].superclasses))
            linked[surface] = tuple(found)
        open_ones = [name for found in linked.values() for name in found]
        while open_ones:
            name = self[open_ones.pop()].name
            if name not in linked:
                linked[name] = parents[name].superclasses
                open_ones += linked[name]
        entities = [Entity(name, (), tuple(self[s].name for s in found)) for name, found in linked.items()]
        return Vocabulary(entities, name=f"{self.name}, not merged", phrases=self._phrases)

    def with_phrases(self, phrases: Phrases | str | os.PathLike) -> Vocabulary:
        """The same entities, read with other negations, hedges and remarks.

        Parameters
        ----------
        phrases : Phrases or path
            What takes the place of the shipped phrases: a file like ``kmerl/data/phrases.json``.

        Raises
        ------
        OSError
            The file cannot be read.
        VocabularyError
            The file has faults; all of them are listed.
        """
        if not isinstance(phrases, (Phrases, str, os.PathLike)):
            raise TypeError(f"phrases must be a kmerl.Phrases or a path, got {type(phrases).__name__}")
        phrases = phrases if isinstance(phrases, Phrases) else Phrases.load(phrases)
        if phrases == self.phrases:
            return self
        name = self.name if phrases.shipped else f"{self.name}, phrases {phrases.name}"
        return Vocabulary(self._entities, self._words, name, phrases=phrases, aside=self._aside)

    def _like(self, entities: Iterable[Entity], name: str, aside: Iterable[Entity]) -> Vocabulary:
        return Vocabulary(entities, self._words, name, phrases=self._phrases, aside=aside)

    # ---- checks -----------------------------------------------------------------------------------

    def _index_names(self, places: list[str], faults: list[str]) -> dict[str, int]:
        index: dict[str, int] = {}
        for i, entity in enumerate(self._entities):
            key = normalise(entity.name)
            if key in index:
                faults.append(f'{places[i]}: name "{entity.name}" is also the name at {places[index[key]]}')
            index.setdefault(key, i)
            for name in (entity.name, *entity.synonyms):
                if has_surrogate(name):
                    faults.append(f"{places[i]}: a name has a lone surrogate: {name!a}")
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
        aside = [f'aside ("{entity.name}")' for entity in self._aside]
        for place, entity in zip([*places, *aside], [*self._entities, *self._aside], strict=True):
            for pattern in entity.patterns:
                try:
                    phrases = expand(pattern, self._words)
                except ValueError as error:
                    faults.append(f"{place}: pattern {pattern!r}: {error}")
                    continue
                fault = next(filter(None, map(_phrase_fault, phrases)), None)
                if fault:
                    faults.append(f"{place}: pattern {pattern!r}: {fault}")


def _phrase_fault(phrase: str) -> str | None:
    """What the core would refuse in a phrase."""
    words = phrase.split()
    counted = [word for word in words if word not in ("+", "^", "$")]
    if len(counted) > MAX_WORDS:
        return f"{len(counted)} words, at most {MAX_WORDS} are possible"
    if words[0] == "+":
        return "'+' cannot be the first word"
    if all(word.startswith("<") for word in counted):
        return "no word is part of the finding"
    return None


@functools.lru_cache(maxsize=1)
def _default() -> Vocabulary:
    return Vocabulary.load(Path(__file__).parent / "data" / "vocabulary.json")


# ---- reading a file ---------------------------------------------------------------------------------


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
        faults.append(f"{place}: an entity must be an object, is {kind_of(block)}")
        return None
    name = block.get("name")
    if not isinstance(name, str) or not name.strip():
        faults.append(f'{place}: "name" must be a text, is {kind_of(name)}')
        return None
    place = f'{place} ("{name}")'
    for key in sorted(set(block) - {"name", "superclasses", "synonyms", "patterns", "codes"}):
        faults.append(f'{place}: unknown key "{key}"')
    lists = {}
    for key in ("superclasses", "patterns"):
        value = block.get(key, [])
        if fault := texts_fault(value):
            faults.append(f'{place}: "{key}" {fault}')
            value = []
        lists[key] = tuple(value)
    grouped = {}
    for key, allowed in (("synonyms", LANGUAGES), ("codes", CODES)):
        value = block.get(key, {})
        if not isinstance(value, dict):
            faults.append(f'{place}: "{key}" must be an object, is {kind_of(value)}')
            value = {}
        grouped[key] = {}
        for group, items in value.items():
            if group not in allowed:
                faults.append(f'{place}: "{key}" has unknown group "{group}", known are {", ".join(allowed)}')
            elif fault := texts_fault(items):
                faults.append(f'{place}: "{key}", "{group}" {fault}')
            else:
                grouped[key][group] = tuple(items)
    synonyms = tuple(dict.fromkeys(s for items in grouped["synonyms"].values() for s in items))
    return Entity(
        name, synonyms, lists["superclasses"], grouped["codes"], grouped["synonyms"], lists["patterns"]
    )
