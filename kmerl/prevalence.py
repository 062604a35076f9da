"""How often a store's entities are asserted, and which occur together."""

import csv
import dataclasses
import io

import numpy as np

from .durable import writing
from .plot import FAINT, INK

__all__ = ["Prevalence", "plot_cooccurrence"]


@dataclasses.dataclass(frozen=True)
class Prevalence:
    """What `Store.prevalence` gives; prints as a table.

    Attributes
    ----------
    entities : list of str
        Most frequent first; those that no recording has too.
    reports, recordings : list of int
        How many distinct reports, and how many recordings, assert each.
    total : int
        Recordings in the store.
    bare : int
        Recordings without any entity.
    """

    entities: list
    reports: list
    recordings: list
    total: int
    bare: int

    def share(self, entity):
        """Of all recordings; the entity by its canonical name."""
        return self.recordings[self.entities.index(entity)] / self.total

    @property
    def found(self):
        """How many entities at least one recording has."""
        return sum(count > 0 for count in self.recordings)

    def table(self, count=None):
        """The `count` most frequent entities as text; by default all that were found."""
        rows = range(min(self.found, self.found if count is None else count))
        width = max([len(self.entities[i]) for i in rows], default=0)
        lines = [f"{'entity':<{width}} {'recordings':>11} {'share':>8}"] if rows else []
        for i in rows:
            share = 100 * self.recordings[i] / self.total
            lines.append(f"{self.entities[i]:<{width}} {self.recordings[i]:>11,} {share:>6.1f} %")
        return "\n".join(lines)

    __str__ = table

    def to_csv(self, path):
        """Writes all entities: entity, reports, recordings, share."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["entity", "reports", "recordings", "share"])
        for row in zip(self.entities, self.reports, self.recordings, strict=True):
            writer.writerow([*row, f"{row[2] / self.total:.6g}"])
        with writing(path) as file:
            file.write(text.getvalue().encode())


def plot_cooccurrence(store, entities=24):
    """Draws which entities occur together: of the recordings with the row's entity, the share that also has
    the column's.

    Parameters
    ----------
    store : Store
        Labelled.
    entities : int or list of str
        The so many most frequent ones, or any names of the entities. Neighbours are those that share most.

    Returns
    -------
    matplotlib.figure.Figure
        In a notebook it is shown as the value of its cell; ``figure.savefig(path)`` keeps it.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    RuntimeError
        The store has no labels yet.
    ValueError, KeyError
        There is nothing to draw, or no entity of such a name.
    """
    try:
        import matplotlib
        from matplotlib import pyplot
        from matplotlib.colors import LinearSegmentedColormap
    except ImportError:
        raise ImportError("plot_cooccurrence needs matplotlib: pip install matplotlib") from None

    names, together = store.entities, store.cooccurrence()
    rows = _chosen(store, entities, together)
    rows = rows[_neighbours(together[np.ix_(rows, rows)])]
    together = together[np.ix_(rows, rows)]
    counts = together.diagonal()
    shares = together / np.maximum(counts, 1)[:, None]
    n = len(rows)

    words = max(len(names[i]) for i in rows)
    side, left, below = 0.34 * n, 0.062 * words + 0.35, 0.048 * words + 0.25
    width, height = left + side + 0.15, below + side + 0.75
    figure = pyplot.figure(figsize=(width, height), dpi=110, facecolor="white")
    if "inline" in matplotlib.get_backend().lower():
        pyplot.close(figure)  # a notebook would show it twice: by itself, and as the value of the cell
    axes = figure.add_axes((left / width, below / height, side / width, side / height))
    colours = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#9db9d9", "#1f4e79"])
    shown = np.where(np.eye(n, dtype=bool), np.nan, shares)
    axes.imshow(shown, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    axes.set_facecolor("#ececec")
    for i, j in np.ndindex(n, n):
        if i == j:
            text, colour = f"{counts[i]:,}", INK
        else:
            text, colour = f"{100 * shares[i, j]:.0f}", "white" if shares[i, j] > 0.6 else INK
        if text != "0":
            axes.text(j, i, text, ha="center", va="center", fontsize=6.5, color=colour)
    axes.set_xticks(range(n), [names[i] for i in rows], rotation=55, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), [names[i] for i in rows])
    axes.tick_params(length=0, labelsize=8, colors=INK)
    axes.set_xticks(np.arange(0.5, n - 1), minor=True)
    axes.set_yticks(np.arange(0.5, n - 1), minor=True)
    axes.grid(which="minor", color="#f4f4f4", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.text(0.15 / width, 1 - 0.25 / height, "Entities that occur together", fontsize=11,
                fontweight="bold", color=INK, va="center")  # fmt: skip
    figure.text(0.15 / width, 1 - 0.5 / height, f"of the recordings with the row's entity, % that have the column's "
                f"too; grey: recordings, of {len(store):,}", fontsize=8, color=FAINT, va="center")  # fmt: skip
    return figure


def _chosen(store, entities, together):
    """Columns to draw."""
    counts = together.diagonal()
    if isinstance(entities, (int, np.integer)) and not isinstance(entities, bool):
        if entities < 2:
            raise ValueError(f"entities is {entities}, expected 2 or more, or names")
        rows = np.argsort(-counts, kind="stable")[:entities]
        rows = rows[counts[rows] > 0]
    else:
        if isinstance(entities, str):
            raise TypeError(f"entities is the single text {entities!r}, expected names or how many")
        vocabulary = store.vocabulary
        rows = np.array(list(dict.fromkeys(vocabulary.index(name) for name in entities)), np.int64)
    if len(rows) < 2:
        raise ValueError(f"store {store.path!r}: {len(rows)} entities to draw, expected 2 or more")
    return rows


def _neighbours(together):
    """An order in which each is followed by that of the others that shares most with it."""
    counts = together.diagonal()
    either = counts[:, None] + counts - together
    near = together / np.maximum(either, 1)
    order, rest = [int(np.argmax(counts))], set(range(len(counts)))
    rest -= set(order)
    while rest:
        order.append(max(sorted(rest), key=lambda i: near[order[-1], i]))
        rest.remove(order[-1])
    return order
