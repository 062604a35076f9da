"""From report text to findings, with the lexicon in the C core: no language model, no network."""

from __future__ import annotations

import functools
import json
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import _kmerl
from .vocabulary import MATCHED, Vocabulary, expand

STATUSES = ("asserted", "negated", "hedged")
KINDS = ("clinical", "technical", "unmatched")
_ENTITY, _NEGATION, _HEDGE, _REMARK, _DECOY, _TAIL, _LIST = range(7)
_WEAK = 1
_SIDES = {"right": 1, "left": 2, "either": 3}
_FLAGS = {"fillers": 1, "connectors": 2, "barriers": 4, "abbreviations": 8, "ordinal": 16}


@dataclass(frozen=True)
class Finding:
    """One mention of an entity in a text.

    Attributes
    ----------
    entity : str
        Canonical name in the vocabulary.
    span : tuple of int
        Start and end in characters of the text as given.
    status : str
        "asserted", "negated" or "hedged".
    """

    entity: str
    span: tuple[int, int]
    status: str


@dataclass(frozen=True)
class Statement:
    """One statement of a text: its span in characters, and its kind: "clinical" where it names an
    entity, "technical" for technical, administrative and comparing remarks, else "unmatched"."""

    span: tuple[int, int]
    kind: str


@dataclass(frozen=True)
class Reading:
    """What was read in one text: `findings` and `statements`, in order."""

    findings: list[Finding]
    statements: list[Statement]


def extract(texts, vocabulary: Vocabulary | None = None, extractor="lexicon", details: bool = False):
    """Finds the entities that reports name.

    Parameters
    ----------
    texts : list of str
        Reports in English, German or Swedish. Anything may stand in them.
    vocabulary : Vocabulary, optional
        Default: `Vocabulary.default()`.
    extractor : "lexicon" or an object with ``extract(texts, vocabulary, details)``
        "lexicon" is the matcher of the C core.
    details : bool
        Return statements too.

    Returns
    -------
    list
        For each text a list of `Finding`; with `details` a `Reading`.

    Raises
    ------
    TypeError
        `texts` is a single text, or holds something that is no text.
    ValueError
        `extractor` is unknown.

    Notes
    -----
    SPEC section 8. Negations and hedges reach to both sides and across lists; a doubt about an
    infarct's age is no doubt about the infarct.
    """
    if vocabulary is None:
        vocabulary = Vocabulary.default()
    if not isinstance(vocabulary, Vocabulary):
        raise TypeError(f"vocabulary must be a kmerl.Vocabulary, got {type(vocabulary).__name__}")
    texts = _texts(texts)
    if extractor != "lexicon":
        if not callable(getattr(extractor, "extract", None)):
            raise ValueError(
                f"extractor is {extractor!r}, must be 'lexicon' or an object with a method extract"
            )
        return extractor.extract(texts, vocabulary, details)
    findings, statements = lexicon(vocabulary).read(texts)
    names = list(vocabulary)
    result: list[list[Finding]] = [[] for _ in texts]
    for text, start, end, entity, status in findings.tolist():
        result[text].append(Finding(names[entity], (start, end), STATUSES[status]))
    if not details:
        return result
    kinds: list[list[Statement]] = [[] for _ in texts]
    for text, start, end, kind in statements.tolist():
        kinds[text].append(Statement((start, end), KINDS[kind]))
    return [Reading(f, s) for f, s in zip(result, kinds, strict=True)]


def label_matrix(texts, vocabulary: Vocabulary | None = None, hedged: str = "drop") -> np.ndarray:
    """Entity labels of reports, straight from the C core.

    Parameters
    ----------
    texts : list of str
    vocabulary : Vocabulary, optional
        Default: `Vocabulary.default()`.
    hedged : "drop" or "keep"
        Whether hedged findings ("possible", "cannot rule out") count as positive.

    Returns
    -------
    ndarray of uint8, (texts, entities)
        1 where an entity, or one below it, is asserted; columns in the vocabulary's order.

    Notes
    -----
    SPEC section 8: negated findings never count, an entity's label implies its superclasses.
    """
    if vocabulary is None:
        vocabulary = Vocabulary.default()
    if hedged not in ("drop", "keep"):
        raise ValueError(f"hedged is {hedged!r}, must be 'drop' or 'keep'")
    return lexicon(vocabulary).labels(_texts(texts), hedged == "keep")


def _texts(texts) -> list[str]:
    if isinstance(texts, (str, bytes)):
        raise TypeError(
            f"texts must be a list of texts, got a single {type(texts).__name__}: put it in a list"
        )
    if not isinstance(texts, Iterable):
        raise TypeError(f"texts must be a list of texts, got {type(texts).__name__}")
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{i}] must be a text, got {type(text).__name__}")
    return texts


@functools.lru_cache(maxsize=1)
def _phrases() -> dict:
    return json.loads((Path(__file__).parent / "data" / "phrases.json").read_text(encoding="utf-8"))


_lexicons: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def lexicon(vocabulary: Vocabulary) -> _kmerl.Lexicon:
    """The compiled lexicon of a vocabulary and the shipped phrases; compiled once per vocabulary."""
    compiled = _lexicons.get(vocabulary)
    if compiled is None:
        compiled = _lexicons[vocabulary] = _compile(vocabulary)
    return compiled


def _compile(vocabulary: Vocabulary) -> _kmerl.Lexicon:
    phrases = _phrases()
    words = [(word, flag) for key, flag in _FLAGS.items() for word in phrases[key]]
    numbers: dict[tuple[str, str], int] = {}
    entries: list[tuple[str, int, int, int]] = []

    def lists(owner: str, named: dict) -> dict[str, str]:
        """Adds the word lists; returns how the core refers to each."""
        references = {}
        for name, items in named.items():
            number = numbers.setdefault((owner, name), len(numbers))
            references["{" + name + "}"] = "{" + str(number) + "}"
            entries.extend(
                (phrase, _LIST, 0, number) for item in items for phrase in expand(item, named, inline=True)
            )
        return references

    def add(
        patterns, named: dict, references: dict[str, str], kind: int, side: int = 0, target: int = 0
    ) -> None:
        for pattern in patterns:
            for phrase in expand(pattern, named):
                for name, reference in references.items():
                    phrase = phrase.replace(name, reference)
                entries.append((phrase, kind, side, target))

    own, named = lists("phrases", phrases["words"]), phrases["words"]
    for kind, key in ((_NEGATION, "negation"), (_HEDGE, "hedge")):
        for side, patterns in phrases[key].items():
            add(patterns, named, own, kind, _SIDES[side])
    for topic, patterns in phrases["remarks"].items():
        add(patterns, named, own, _REMARK, side=_WEAK if topic == "comment" else 0)
    add(phrases["decoys"], named, own, _DECOY)
    add(phrases["tails"], named, own, _TAIL)

    named = vocabulary.words
    references = lists("vocabulary", named)
    for i, entity in enumerate(vocabulary.entities):
        add(entity.patterns, named, references, _ENTITY, target=i)
        for language in MATCHED:
            for synonym in entity.languages.get(language, ()):
                entries.append((_literal(synonym), _ENTITY, 0, i))
        entries.append((_literal(entity.name), _ENTITY, 0, i))
    entries = [entry for entry in entries if entry[0].strip()]
    return _kmerl.Lexicon(phrases["endings"], words, entries, *_above(vocabulary))


def _literal(name: str) -> str:
    """A name as a phrase: the signs of the phrase language taken out."""
    return " ".join(
        word
        for word in name.translate(str.maketrans("+<>^$={}", " " * 8)).split()
        if any(c.isalnum() for c in word)
    )


def _above(vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Superclasses of every level, row after row, and where each entity's begin."""
    rows = [[vocabulary.index(name) for name in vocabulary.above(entity)] for entity in vocabulary]
    offset = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offset[1:])
    return np.array([i for row in rows for i in row], np.int32), offset
