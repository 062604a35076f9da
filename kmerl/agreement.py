"""How far two extractors, or an extractor and a gold set, agree (SPEC 8; Tables 8 and 9 of the paper)."""

import dataclasses
import json

import numpy as np

from .extraction import check_texts
from .vocabulary import Vocabulary

__all__ = ["Agreement", "Comparison", "compare_extractors"]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of one entity, or of all together.

    Attributes
    ----------
    entity : str
    both, first_only, second_only, neither : int
        Numbers of texts.
    accuracy : float
        Share of the decisions that are the same.
    precision, recall, f1 : float
        Of the second extractor with the first as the truth; NaN where they are not defined.
    kappa : float
        Cohen's: agreement beyond chance; NaN where both say the same of all texts.
    """

    entity: str
    both: int
    first_only: int
    second_only: int
    neither: int

    @property
    def accuracy(self):
        return _ratio(self.both + self.neither, self.both + self.first_only + self.second_only + self.neither)

    @property
    def precision(self):
        return _ratio(self.both, self.both + self.second_only)

    @property
    def recall(self):
        return _ratio(self.both, self.both + self.first_only)

    @property
    def f1(self):
        return _ratio(2 * self.both, 2 * self.both + self.first_only + self.second_only)

    @property
    def kappa(self):
        n = self.both + self.first_only + self.second_only + self.neither
        first, second = self.both + self.first_only, self.both + self.second_only
        chance = _ratio(first * second + (n - first) * (n - second), n * n)
        return _ratio(self.accuracy - chance, 1 - chance)


def _ratio(a, b):
    return a / b if b else float("nan")


COLUMNS = ("both", "first_only", "second_only", "neither", "accuracy", "precision", "recall", "f1", "kappa")


class Comparison:
    """What `compare_extractors` gives.

    Attributes
    ----------
    names : tuple of str
        What was compared.
    vocabulary : Vocabulary
    entities : dict of str to Agreement
        Those that at least one of the two found, most differences first.
    total : Agreement
        All (text, entity) decisions together: `total.accuracy` is the accuracy of Tables 8 and 9 where the
        first is a gold set.
    labels : (2, n, Q) uint8
    """

    def __init__(self, names, vocabulary, labels):
        self.names, self.vocabulary, self.labels = tuple(names), vocabulary, labels
        first, second = labels.astype(bool)
        counts = np.stack([first & second, first & ~second, ~first & second, ~first & ~second]).sum(axis=1)
        rows = [Agreement(name, *map(int, counts[:, i])) for i, name in enumerate(vocabulary)]
        rows = [row for row in rows if row.both or row.first_only or row.second_only]
        rows.sort(key=lambda row: (-row.first_only - row.second_only, row.entity))
        self.entities = {row.entity: row for row in rows}
        self.total = Agreement("all", *map(int, counts.sum(axis=1)))

    def __repr__(self):
        texts, total = self.labels.shape[1], self.total
        return (
            f"<Comparison of {self.names[0]} with {self.names[1]} on {texts:,} texts: "
            f"{total.first_only + total.second_only:,} differences, F1 {total.f1:.3f}>"
        )

    def differences(self, entity, texts=None):
        """Where the two differ.

        Parameters
        ----------
        entity : str
            Any name of it.
        texts : list of str, optional
            The texts that were compared, to have them in the answer.

        Returns
        -------
        list of (index, "first" or "second") or (index, "first" or "second", text)
            The texts in which only the first, or only the second, has the entity.
        """
        if texts is not None and len(texts) != self.labels.shape[1]:
            raise ValueError(f"texts has {len(texts):,} texts, {self.labels.shape[1]:,} were compared")
        first, second = self.labels[:, :, self.vocabulary.index(entity)]
        found = [(int(i), "first" if first[i] else "second") for i in np.flatnonzero(first != second)]
        return found if texts is None else [(i, who, texts[i]) for i, who in found]

    def table(self, count=None):
        """The agreement of each entity as text, the `count` with most differences."""
        rows = [self.total, *list(self.entities.values())[:count]]
        width = max(len(row.entity) for row in rows)
        lines = [f"first: {self.names[0]}, second: {self.names[1]}"]
        lines.append(f"{'entity':<{width}} {'both':>8} {'first':>8} {'second':>8} {'F1':>6} {'kappa':>6}")
        for row in rows:
            lines.append(
                f"{row.entity:<{width}} {row.both:>8,} {row.first_only:>8,} {row.second_only:>8,} "
                f"{row.f1:>6.3f} {row.kappa:>6.3f}"
            )
        return "\n".join(lines)

    def to_csv(self, path):
        """Writes the table, a line an entity, all together last."""
        import csv
        import io

        from .durable import writing

        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["entity", *COLUMNS])
        for row in (*self.entities.values(), self.total):
            writer.writerow([row.entity, *(getattr(row, column) for column in COLUMNS)])
        with writing(path) as file:
            file.write(text.getvalue().encode())

    def to_json(self):
        """The table as JSON; what is not defined is null."""
        rows = [{"entity": row.entity, **{c: getattr(row, c) for c in COLUMNS}}
                for row in (*self.entities.values(), self.total)]  # fmt: skip
        rows = [{k: None if v != v else v for k, v in row.items()} for row in rows]
        return json.dumps({"first": self.names[0], "second": self.names[1], "rows": rows}, indent=1)


def compare_extractors(texts, first, second, vocabulary=None, *, hedged="drop"):
    """Compares two extractors on the same reports, entity by entity.

    Parameters
    ----------
    texts : list of str
        Reports.
    first, second : "lexicon", an extractor, a labelled Store, or (n, Q) array of 0 and 1
        An extractor as in `kmerl.extract`; a store whose distinct reports include the texts; a gold set made
        by hand, columns in the vocabulary's order. Superclasses are implied in all of them.
    vocabulary : Vocabulary, optional
        By default that of the first store, else `Vocabulary.default()`.
    hedged : {"drop", "keep"}
        Whether hedged findings count; of a store it was decided when it was labelled.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        A store was labelled with another vocabulary; a store lacks one of the texts; an array has the wrong
        shape.
    """
    from .store import Store
    from .store_text import extractor_name

    texts = check_texts(texts)
    if not texts:
        raise ValueError("texts is empty: there is nothing to compare")
    if hedged not in ("drop", "keep"):
        raise ValueError(f"hedged is {hedged!r}, expected 'drop' or 'keep'")
    if vocabulary is None:
        stores = [one for one in (first, second) if isinstance(one, Store)]
        vocabulary = stores[0].vocabulary if stores else Vocabulary.default()
    if not isinstance(vocabulary, Vocabulary):
        raise TypeError(f"vocabulary is a {type(vocabulary).__name__}, expected a kmerl.Vocabulary")
    labels, names = [], []
    for which, one in (("first", first), ("second", second)):
        labels.append(_labels(which, one, texts, vocabulary, hedged))
        named = one if isinstance(one, str) else "gold" if isinstance(one, np.ndarray) else None
        names.append(named or (one.path if isinstance(one, Store) else extractor_name(one)))
    return Comparison(names, vocabulary, np.stack(labels))


def _labels(which, one, texts, vocabulary, hedged):
    from .labelling import label_rows
    from .store import Store

    if isinstance(one, Store):
        if one.vocabulary != vocabulary:
            raise ValueError(
                f"{which}: store {one.path!r} was labelled with vocabulary {one.vocabulary.label}, which "
                f"is not the {vocabulary.label} of this comparison; label it again, or compare with its "
                "own vocabulary"
            )
        row = {text: i for i, text in enumerate(one.reports)}
        missing = [i for i, text in enumerate(texts) if text not in row]
        if missing:
            raise ValueError(
                f"{which}: store {one.path!r} has no report like texts[{missing[0]}] "
                f"({len(missing):,} are missing)"
            )
        return np.array(one.report_labels[[row[text] for text in texts]])
    if isinstance(one, (np.ndarray, list)):
        array = np.asarray(one)
        if array.shape != (len(texts), len(vocabulary)):
            raise ValueError(
                f"{which} has shape {array.shape}, expected ({len(texts)}, {len(vocabulary)}): "
                "texts, entities"
            )
        if array.dtype == object or not np.isin(array, (0, 1)).all():
            raise ValueError(f"{which} holds values other than 0 and 1")
        array = array.astype(np.uint8)
        for i, name in enumerate(vocabulary):
            for above in vocabulary.above(name):
                array[:, vocabulary.index(above)] |= array[:, i]
        return array
    if hasattr(one, "prepare"):
        one.prepare(texts, vocabulary)
    return label_rows(texts, vocabulary, one, hedged)
