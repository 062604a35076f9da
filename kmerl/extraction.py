"""From report text to findings, with the lexicon in the C core: no language model, no network."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from . import _kmerl
from .phrases import add_lists, add_patterns
from .vocabulary import MATCHED, Vocabulary

STATUSES = ("asserted", "negated", "hedged")
KINDS = ("clinical", "technical", "unmatched")
_ENTITY = 0  # KM_PHRASE_ENTITY


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


def extract(
    texts, vocabulary: Vocabulary | None = None, extractor="lexicon", details: bool = False, *, phrases=None
):
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
    phrases : Phrases or path, optional
        Negations, hedges and remarks in place of the vocabulary's; see `Vocabulary.with_phrases`.

    Returns
    -------
    list
        For each text a list of `Finding`; with `details` a `Reading`.

    Raises
    ------
    TypeError
        `texts` is a single text, or holds something that is no text.
    ValueError
        `extractor` is unknown, or the phrases have faults.

    Notes
    -----
    SPEC section 8. Negations and hedges reach to both sides and across lists; a doubt about an
    infarct's age is no doubt about the infarct.
    """
    if phrases is not None and extractor != "lexicon":
        raise ValueError('phrases go with extractor="lexicon"; another reads texts in its own way')
    vocabulary = _vocabulary(vocabulary, phrases)
    texts = check_texts(texts)
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


def label_matrix(
    texts, vocabulary: Vocabulary | None = None, hedged: str = "drop", *, phrases=None
) -> np.ndarray:
    """Entity labels of reports, straight from the C core.

    Parameters
    ----------
    texts : list of str
    vocabulary : Vocabulary, optional
        Default: `Vocabulary.default()`.
    hedged : "drop" or "keep"
        Whether hedged findings ("possible", "cannot rule out") count as positive.
    phrases : Phrases or path, optional
        As in `extract`.

    Returns
    -------
    ndarray of uint8, (texts, entities)
        1 where an entity, or one below it, is asserted; columns in the vocabulary's order.

    Notes
    -----
    SPEC section 8: negated findings never count, an entity's label implies its superclasses.
    """
    vocabulary = _vocabulary(vocabulary, phrases)
    if hedged not in ("drop", "keep"):
        raise ValueError(f"hedged is {hedged!r}, must be 'drop' or 'keep'")
    return lexicon(vocabulary).labels(check_texts(texts), hedged == "keep")


def _vocabulary(vocabulary, phrases) -> Vocabulary:
    if vocabulary is None:
        vocabulary = Vocabulary.default()
    if not isinstance(vocabulary, Vocabulary):
        raise TypeError(f"vocabulary must be a kmerl.Vocabulary, got {type(vocabulary).__name__}")
    return vocabulary if phrases is None else vocabulary.with_phrases(phrases)


def check_texts(texts) -> list[str]:
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


_lexicons: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def lexicon(vocabulary: Vocabulary) -> Lexicon:
    """The compiled lexicon of a vocabulary and its phrases; compiled once per vocabulary."""
    compiled = _lexicons.get(vocabulary)
    if compiled is None:
        compiled = _lexicons[vocabulary] = Lexicon(vocabulary)
    return compiled


class Lexicon:
    """A vocabulary compiled for the core. Its rows above `size` are what it reads and does not report."""

    def __init__(self, vocabulary: Vocabulary):
        self.size = len(vocabulary)
        entities = (*vocabulary.entities, *vocabulary.aside)
        numbers: dict[tuple[str, str], int] = {}
        words, entries = vocabulary.phrases.compiled(numbers)
        named = vocabulary.words
        references = add_lists(entries, numbers, "vocabulary", named)
        for i, entity in enumerate(entities):
            add_patterns(entries, entity.patterns, named, references, _ENTITY, target=i)
            for language in MATCHED:
                for synonym in entity.languages.get(language, ()):
                    entries.append((_literal(synonym), _ENTITY, 0, i))
            entries.append((_literal(entity.name), _ENTITY, 0, i))
        entries = [entry for entry in entries if entry[0].strip()]
        above, offset = _above(vocabulary)
        offset = np.concatenate([offset, np.full(len(vocabulary.aside), offset[-1])])
        self.core = _kmerl.Lexicon(vocabulary.phrases.data["endings"], words, entries, above, offset)

    def read(self, texts) -> tuple[np.ndarray, np.ndarray]:
        """Findings (n, 5): text, start, end, entity, status; statements (m, 4): text, start, end, kind."""
        findings, statements = self.core.read(texts)
        return findings[findings[:, 3] < self.size], statements

    def labels(self, texts, hedged: bool) -> np.ndarray:
        """(texts, entities) uint8."""
        return np.ascontiguousarray(self.core.labels(texts, hedged)[:, : self.size])


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
