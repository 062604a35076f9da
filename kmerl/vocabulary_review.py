"""Near-duplicates in a vocabulary, proposed by a text encoder and decided by a person (docs/llm.md)."""

import csv
import dataclasses
import io
import os
import re

import numpy as np

from .durable import writing
from .patterns import VocabularyError
from .table import Table
from .vocabulary import CODES, LANGUAGES, Entity, Vocabulary, normalise

__all__ = ["Review", "apply_review", "review_vocabulary"]

COLUMNS = ("similarity", "keep", "merge", "as", "differs", "decision")
DECISIONS = ("", "merge", "keep")
BLOCK = 512  # rows of the similarity matrix at a time


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two names that are near each other.

    Attributes
    ----------
    similarity : float
        Cosine of their embeddings, the highest of all their synonyms'.
    keep, merge : str
        `merge` would become a synonym of `keep`.
    via : str
        The two synonyms that are so near, "a = b"; empty where they are the names themselves.
    differs : str
        Words that only one of them has: "left / right".
    """

    similarity: float
    keep: str
    merge: str
    via: str
    differs: str


class Review:
    """Pairs of near-duplicates, nearest first. Iterating gives `Pair`s; `save` writes the table."""

    def __init__(self, pairs, encoder, threshold):
        self.pairs, self.encoder, self.threshold = tuple(pairs), encoder, threshold

    def __len__(self):
        return len(self.pairs)

    def __iter__(self):
        return iter(self.pairs)

    def __repr__(self):
        return f"<Review: {len(self)} pairs with a cosine of at least {self.threshold:g} by {self.encoder}>"

    def save(self, path):
        """Writes the table as CSV, the column `decision` empty: to be filled with "merge" or "keep"."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for pair in self.pairs:
            writer.writerow([f"{pair.similarity:.4f}", pair.keep, pair.merge, pair.via, pair.differs, ""])
        with writing(path) as file:
            file.write(text.getvalue().encode())


def review_vocabulary(vocabulary, encoder, *, threshold=0.9, pooling="cls", synonyms=True):
    """Proposes near-duplicates for review: entities whose names a text encoder puts close together.

    Nearness is no sameness (left and right bundle branch block are near), so nothing is merged here: the
    table is for a person to decide, `apply_review` does what it says. An entity and its superclass are never
    proposed.

    Parameters
    ----------
    vocabulary : Vocabulary or list of str
        Names, or a vocabulary.
    encoder : TextEncoder, TextEmbeddings or alike
        With ``embed(texts, pooling)`` and ``id``. Of one with a fixed list of texts (``text in encoder``),
        synonyms that it does not have are left out.
    threshold : float
        Least cosine of a pair, above 0 to 1. Each encoder has its own scale.
    pooling : str
        The encoder's pooling.
    synonyms : bool
        Compare the entities' synonyms too.

    Returns
    -------
    Review

    Raises
    ------
    ValueError
        `threshold` is out of range; two names of the list are equal; the encoder gave no finite vectors.
    KeyError
        A `TextEmbeddings` does not have one of the names.
    """
    vocabulary = _as_vocabulary(vocabulary)
    if not isinstance(threshold, (int, float)) or not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold!r}, expected a cosine above 0 and at most 1")
    for name in ("embed", "id"):
        if not hasattr(encoder, name):
            raise TypeError(
                f"encoder is a {type(encoder).__name__} without .{name}, expected a kmerl.TextEncoder"
            )
    texts, owner = [], []
    for i, entity in enumerate(vocabulary.entities):
        others = entity.synonyms if synonyms else ()
        others = [s for s in others if not hasattr(encoder, "__contains__") or s in encoder]
        for text in dict.fromkeys((entity.name, *others)):
            texts.append(text)
            owner.append(i)
    vectors = np.asarray(encoder.embed(texts, pooling), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
        raise ValueError(f"encoder {encoder.id} gave no finite vector for each of {len(texts):,} names")
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    best = {}
    for start in range(0, len(texts), BLOCK):
        cosine = vectors[start : start + BLOCK] @ vectors.T
        for a, b in zip(*np.nonzero(cosine >= threshold - 1e-6), strict=True):
            i, j = owner[start + a], owner[b]
            if i < j and cosine[a, b] > best.get((i, j), (-1.0,))[0]:
                best[i, j] = (float(cosine[a, b]), texts[start + a], texts[b])
    pairs = []
    for (i, j), (similarity, a, b) in best.items():
        keep, merge = vocabulary.entities[i], vocabulary.entities[j]
        if keep.name in vocabulary.above(merge.name) or merge.name in vocabulary.above(keep.name):
            continue
        via = "" if (a, b) == (keep.name, merge.name) else f"{a} = {b}"
        pairs.append(Pair(min(similarity, 1.0), keep.name, merge.name, via, _differs(keep.name, merge.name)))
    pairs.sort(key=lambda pair: (-pair.similarity, pair.keep, pair.merge))
    return Review(pairs, str(encoder.id), threshold)


def apply_review(vocabulary, table):
    """Merges the entities that an edited review table says to merge.

    In a row with the decision "merge", the entity in column "merge" becomes a synonym of the one in column
    "keep": its synonyms, patterns, codes and superclasses go with it, and what stood below it stands below
    that one. The columns may be exchanged, and rows added by hand; "keep" and an empty decision change
    nothing.

    Parameters
    ----------
    vocabulary : Vocabulary or list of str
        What the table was made of.
    table : path-like
        The CSV.

    Returns
    -------
    Vocabulary

    Raises
    ------
    ValueError
        A name is not in the vocabulary, a decision is none of the three, an entity is merged into two others
        or in a circle: with the table's line. A `VocabularyError` if the result has a cycle.
    OSError
        The table cannot be read.
    """
    vocabulary = _as_vocabulary(vocabulary)
    table = Table(os.fspath(table))
    table.need("keep", "merge", "decision")
    into, lines = {}, {}
    for i, row in enumerate(table.rows):
        decision = row["decision"].lower()
        if decision not in DECISIONS:
            raise ValueError(
                f'{table.at(i)}: decision is {row["decision"]!r}, expected "merge", "keep" or nothing'
            )
        for column in ("keep", "merge"):
            if row[column] not in vocabulary:
                raise ValueError(
                    f"{table.at(i)}: {row[column]!r} is no name in vocabulary {vocabulary.name!r}"
                )
        if decision != "merge":
            continue
        keep, merge = vocabulary.index(row["keep"]), vocabulary.index(row["merge"])
        if keep == merge:
            raise ValueError(f"{table.at(i)}: {row['keep']!r} is merged into itself")
        if into.setdefault(merge, keep) != keep:
            other = vocabulary.entities[into[merge]].name
            raise ValueError(
                f"{table.at(i)}: {row['merge']!r} is merged into {row['keep']!r}, and into {other!r} in line "
                f"{table.line(lines[merge])}: merge those two with each other instead"
            )
        lines.setdefault(merge, i)
    root = {}
    for start in into:
        at, path = start, [start]
        while at in into:
            at = into[at]
            if at in path:
                raise ValueError(
                    f"{table.at(lines[start])}: {vocabulary.entities[start].name!r} is merged in a circle"
                )
            path.append(at)
        root[start] = at
    return _merged(vocabulary, root)


def _merged(vocabulary, root):
    groups = {}
    for i in range(len(vocabulary)):
        groups.setdefault(root.get(i, i), []).append(i)
    entities = []
    for i, entity in enumerate(vocabulary.entities):
        if i in root:
            continue
        group = [entity, *(vocabulary.entities[j] for j in groups[i] if j != i)]
        if len(group) == 1 and not any(vocabulary.index(s) in root for s in entity.superclasses):
            entities.append(entity)
            continue
        languages = {key: _union(one.languages.get(key, ()) for one in group) for key in LANGUAGES}
        languages["en"] = _union([languages["en"], [one.name for one in group[1:]]])
        languages = {key: value for key, value in languages.items() if value}
        codes = {key: _union(one.codes.get(key, ()) for one in group) for key in CODES}
        above = [vocabulary.index(s) for one in group for s in one.superclasses]
        above = dict.fromkeys(root.get(j, j) for j in above)
        superclasses = tuple(vocabulary.entities[j].name for j in above if j != i)
        synonyms = _union([*languages.values(), *(one.synonyms for one in group)])
        entities.append(
            Entity(entity.name, synonyms, superclasses, {k: v for k, v in codes.items() if v}, languages,
                   _union(one.patterns for one in group))
        )  # fmt: skip
    return Vocabulary(
        entities, vocabulary.words, vocabulary.name if not root else f"{vocabulary.name}, merged"
    )


def _union(lists):
    return tuple(dict.fromkeys(item for items in lists for item in items))


def _as_vocabulary(names):
    if isinstance(names, Vocabulary):
        return names
    if isinstance(names, str):
        raise TypeError(
            f"vocabulary is the single text {names!r:.60}, expected a kmerl.Vocabulary or a list of names"
        )
    try:
        names = list(names)
    except TypeError:
        raise TypeError(
            f"vocabulary is a {type(names).__name__}, expected a kmerl.Vocabulary or a list of names"
        ) from None
    for i, name in enumerate(names):
        if not isinstance(name, str) or not normalise(name):
            raise TypeError(f"vocabulary: name {i + 1} is {name!r:.60}, expected a text")
    return Vocabulary([Entity(" ".join(name.split())) for name in names], name="names")


def read_names(path):
    """A vocabulary file (.json), or a text file with a name a line.

    Raises
    ------
    VocabularyError
        The file has faults, or names twice; with their lines.
    """
    path = os.fspath(path)
    if path.lower().endswith(".json"):
        return Vocabulary.load(path)
    with open(path, "rb") as file:
        try:
            lines = file.read().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise VocabularyError(path, ["not UTF-8 text"]) from None
    named = [(f"line {i + 1}", " ".join(line.split())) for i, line in enumerate(lines) if line.strip()]
    places = [f'{place} ("{name}")' for place, name in named]
    name = os.path.splitext(os.path.basename(path))[0]
    return Vocabulary([Entity(n) for _, n in named], name=name, _places=places, _source=path)


def _differs(a, b):
    """Words that only one of two names has."""
    first, second = (re.findall(r"\w+", name.casefold()) for name in (a, b))
    only = [[w for w in x if w not in y] for x, y in ((first, second), (second, first))]
    return " / ".join(" ".join(words) or "-" for words in only) if any(only) else ""
