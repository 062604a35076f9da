"""From reports to rows of 0 and 1: which vocabulary the texts are read with, and what the columns are (SPEC 8)."""

import numpy as np

from .extraction import extract, label_matrix
from .llm_support import surface

__all__ = ["Labelling", "label_rows"]


def label_rows(texts, vocabulary, extractor, hedged):
    """(n, Q) uint8: what an extractor finds asserted in texts, superclasses included."""
    if extractor == "lexicon":
        return label_matrix(texts, vocabulary, hedged)
    column = {name: i for i, name in enumerate(vocabulary)}
    rows = np.zeros((len(texts), len(column)), np.uint8)
    for row, findings in zip(rows, _positive(texts, vocabulary, extractor, hedged), strict=True):
        for name in {finding.entity for finding in findings}:
            row[column[name]] = 1
            row[[column[above] for above in vocabulary.above(name)]] = 1
    return rows


def _positive(texts, vocabulary, extractor, hedged):
    """For each text the findings that count."""
    counts = ("asserted", "hedged") if hedged == "keep" else ("asserted",)
    for findings in extract(texts, vocabulary, extractor=extractor):
        yield [finding for finding in findings if finding.status in counts]


class Labelling:
    """How reports become label rows; with the switches of Table 2b of the paper, which look at all reports
    first.

    Parameters
    ----------
    vocabulary : Vocabulary
    extractor, hedged
        As in `Store.label`.
    superclasses : bool
        Without: a label implies no superclass, and superclasses that no report names in its own words are no
        columns.
    merge_synonyms : bool
        Without: each name that reports use is a column, whatever else means the same.
    chunks : callable
        Gives an iterator over all reports, in lists. Called where a switch needs them.

    Attributes
    ----------
    reading : Vocabulary
        What texts are read with.
    vocabulary : Vocabulary
        The columns'.
    """

    def __init__(self, vocabulary, extractor, hedged, superclasses, merge_synonyms, chunks):
        self.extractor, self.hedged, self.merged = extractor, hedged, merge_synonyms
        # Without links the longest name alone counts: "anterior infarct" names no infarct beside it.
        self.reading = vocabulary if superclasses and merge_synonyms else vocabulary.unlinked()
        self.vocabulary, self._kept = vocabulary, slice(None)
        if not merge_synonyms:
            self.vocabulary = (vocabulary if superclasses else self.reading).unmerged(self._surfaces(chunks()))
            self._column = {}
        elif not superclasses:
            named = np.zeros(len(vocabulary), bool)
            for texts in chunks():
                named |= label_rows(texts, self.reading, extractor, hedged).any(axis=0)
            groups = np.isin(list(vocabulary), vocabulary.superclass_names())
            self._kept = np.flatnonzero(named | ~groups)
            self.vocabulary = vocabulary.unlinked(np.array(list(vocabulary))[self._kept].tolist())

    def rows(self, texts):
        """(n, Q) uint8."""
        if self.merged:
            rows = label_rows(texts, self.reading, self.extractor, self.hedged)
            return np.ascontiguousarray(rows[:, self._kept])
        rows = np.zeros((len(texts), len(self.vocabulary)), np.uint8)
        for row, names in zip(rows, self._names(texts), strict=True):
            for name, _ in names:
                if name not in self._column:
                    above = self.vocabulary.above(name)
                    self._column[name] = [self.vocabulary.index(one) for one in (name, *above)]
                row[self._column[name]] = 1
        return rows

    def _names(self, texts):
        """For each text the (name in its words, entity) of what counts."""
        found = _positive(texts, self.reading, self.extractor, self.hedged)
        for text, findings in zip(texts, found, strict=True):
            named = ((surface(text[slice(*finding.span)]), finding.entity) for finding in findings)
            yield {(name or entity, entity) for name, entity in named}

    def _surfaces(self, chunks):
        surfaces = {}
        for texts in chunks:
            for names in self._names(texts):
                for name, entity in names:
                    surfaces.setdefault(name, set()).add(entity)
        if not surfaces:
            raise ValueError("merge_synonyms=False: no report asserts an entity, so there is no name to make one of")
        return surfaces

