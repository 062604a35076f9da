"""Pictures of reports: `Report.plot` and `Sweep.plot` show them, `to_html` puts them on a page (matplotlib)."""

import io
import math
from contextlib import contextmanager

import numpy as np

from kmerl import metrics as _metrics

BLUE, PALE, RED, GREY, INK = "#2a52be", "#b7c4e9", "#c0504d", "#8d9096", "#16181d"
COLUMNS = 5  # of small pictures in a row
NARROW = 28  # letters of a class name over a small picture
BINS = 10  # of a reliability diagram

# Everything that would let a user's settings, the date or chance into a file.
SETTINGS = {"svg.hashsalt": "kmerl", "svg.fonttype": "path", "path.simplify": True, "font.size": 9.0}


@contextmanager
def settings():
    """Matplotlib's own defaults and ours, whatever the user's are."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def draw(function, subject):
    """The picture that one of this file's functions makes of a report or sweep."""
    with settings():
        import matplotlib
        from matplotlib import pyplot

        figure = function(subject)
        if "inline" in matplotlib.get_backend().lower():
            pyplot.close(figure)  # a notebook would show it twice: by itself, and as the value of the cell
    return figure


def svg(function, subject):
    """The picture as SVG text, the same bytes each time, and its width in CSS pixels."""
    with settings():
        from matplotlib import pyplot

        figure, text = function(subject), io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return text.getvalue(), round(96 * figure.get_size_inches()[0])


def _figure(width, height, rows=1, columns=1, **options):
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options
    )
    for one in axes.flat:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(GREY)
        one.tick_params(color=GREY, labelcolor=INK, labelsize=8)
    return figure, axes


def _short(name, letters=NARROW):
    return name if len(name) <= letters else name[: letters - 1].rstrip() + "\u2026"


def _small(report, classes, draw, xlabel, ylabel):
    """A small picture for each class, all on the same axes from 0 to 1."""
    rows = math.ceil(len(classes) / COLUMNS)
    columns = math.ceil(len(classes) / rows)
    figure, axes = _figure(1.95 * columns + 0.5, 2.1 * rows + 0.4, rows, columns)
    for place, one in enumerate(axes.flat):
        if place >= len(classes):
            one.set_visible(False)
            continue
        one.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        one.tick_params(
            labelbottom=place + columns >= len(classes), labelleft=place % columns == 0, length=2.5
        )
        one.set_xticklabels(("0", "0.5", "1"))
        one.set_yticklabels(("0", "0.5", "1"))
        title = draw(one, report.classes.index(classes[place]))
        one.set_title(_short(classes[place]) + "\n" + title, fontsize=7.5, loc="left", parse_math=False)
    figure.supxlabel(xlabel, fontsize=9)
    figure.supylabel(ylabel, fontsize=9)
    return figure


def _thin(x, y):
    """A curve without the points that no eye can tell apart: areas are not simplified by matplotlib, as lines are."""
    grid = np.round(400 * np.stack([x, y]))
    keep = np.append(True, np.any(grid[:, 1:] != grid[:, :-1], axis=0))
    return x[keep], y[keep]


def _defined(report):
    found = [c for c in report.classes if c not in report.undefined]
    if not found:
        raise ValueError("no class has both outcomes, so there is nothing to draw")
    return found


def roc(report):
    """The ROC curve of each class with both outcomes."""

    def draw(axes, k):
        x, y, _ = _metrics.roc_curve(report.labels[:, k], report.scores[:, k])
        axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.7, linestyle=(0, (4, 3)))
        axes.fill_between(*_thin(x, y), color=PALE, alpha=0.35, linewidth=0)
        axes.plot(x, y, color=BLUE, linewidth=1.2)
        return f"AUROC {report.metrics['roc_auc']['per_class'][report.classes[k]]:.3f}"

    return _small(report, _defined(report), draw, "false positive rate", "true positive rate")


def precision_recall(report):
    """The precision-recall curve of each class with both outcomes; the dashed line is its share of recordings."""

    def draw(axes, k):
        precision, recall, _ = _metrics.precision_recall_curve(report.labels[:, k], report.scores[:, k])
        share = report.support[report.classes[k]] / len(report.labels)
        axes.axhline(share, color=GREY, linewidth=0.7, linestyle=(0, (4, 3)))
        x, y = np.concatenate([[0.0], recall]), np.concatenate([precision[:1], precision])
        axes.fill_between(*_thin(x, y), step="pre", color=PALE, alpha=0.35, linewidth=0)
        axes.step(x, y, where="pre", color=BLUE, linewidth=1.2)
        value = report.metrics["average_precision"]["per_class"][report.classes[k]]
        return f"AUPRC {value:.3f}, {report.support[report.classes[k]]:,} positive"

    return _small(report, _defined(report), draw, "recall", "precision")


def reliability(report):
    """How often a class is there where its probability says so; grey bars are the share of recordings in a bin."""
    if "brier" not in report.metrics:
        raise ValueError("these scores are no probabilities, so there is no reliability diagram")

    def draw(axes, k):
        mean, share, count = _metrics.calibration_curve(report.labels[:, k], report.scores[:, k], bins=BINS)
        axes.bar((np.arange(BINS) + 0.5) / BINS, count / count.sum(), 0.9 / BINS, color="#dfe1e5")
        axes.plot((0, 1), (0, 1), color=GREY, linewidth=0.7, linestyle=(0, (4, 3)))
        there = count > 0
        axes.plot(mean[there], share[there], "o-", color=BLUE, linewidth=1.0, markersize=3)
        return f"ECE {report.metrics['expected_calibration_error']['per_class'][report.classes[k]]:.3f}"

    return _small(report, report.classes, draw, "probability", "share of positives")


def classes(report):
    """AUROC of each class with its interval, and the macro average."""
    values = report.metrics["roc_auc"]
    known = sorted(_defined(report), key=lambda c: values["per_class"][c])
    figure, ((axes,),) = _figure(6.5, 1.2 + 0.24 * len(known))
    for row, c in enumerate(known):
        ends = [values["per_class_low"][c], values["per_class_high"][c]]
        axes.plot(ends, [row, row], color=PALE, linewidth=4, solid_capstyle="butt")
        axes.plot(values["per_class"][c], row, "o", color=BLUE, markersize=4.5)
    label = f"macro average {values['macro']:.3f}"
    axes.axvline(values["macro"], color=BLUE, linewidth=1, linestyle="--", label=label)
    axes.axvline(0.5, color=GREY, linewidth=0.8, label="chance")
    axes.set_yticks(range(len(known)), [f"{c} ({report.support[c]:,})" for c in known], parse_math=False)
    axes.set(xlabel="AUROC, 95 % interval over patients", ylim=(-0.7, len(known) - 0.3))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False, borderaxespad=0.2, fontsize=8)
    return figure


def support(report):
    """Positive recordings of each class."""
    order = sorted(report.classes, key=lambda c: report.support[c])
    counts = [report.support[c] for c in order]
    figure, ((axes,),) = _figure(6.5, 0.9 + 0.24 * len(order))
    axes.barh(range(len(order)), counts, color=PALE, height=0.7)
    for row, n in enumerate(counts):
        text = f" {n:,} ({100 * n / len(report.labels):.1f} %)"
        axes.text(n, row, text, va="center", fontsize=8, color=RED if order[row] in report.undefined else INK)
    axes.set_yticks(range(len(order)), order, parse_math=False)
    axes.set(xlabel=f"positive of {len(report.labels):,} recordings", xlim=(0, 1.25 * max(1, *counts)))
    axes.set_ylim(-0.7, len(order) - 0.3)
    return figure


def beside(report):
    """Macro AUROC of the result and of what it must be read against."""
    rows = {"this model": report, **report.beside}
    rows = {name: found for name, found in rows.items() if "roc_auc" in found.metrics}
    figure, ((axes,),) = _figure(6.5, 0.9 + 0.34 * len(rows))
    for row, (name, found) in enumerate(reversed(rows.items())):
        values = found.metrics["roc_auc"]
        colour = BLUE if name == "this model" else RED if found.quoted else GREY
        axes.plot([values["low"], values["high"]], [row, row], color=colour, alpha=0.35, linewidth=5)
        axes.plot(values["macro"], row, "D" if found.quoted else "o", color=colour, markersize=5)
        axes.annotate(
            f"{values['macro']:.3f}", (values["macro"], row), (0, 5), textcoords="offset points", ha="center",
            fontsize=8,
        )
    names = [f"{name} (quoted)" if found.quoted else name for name, found in rows.items()]
    axes.axvline(0.5, color=GREY, linewidth=0.8)
    axes.set_yticks(range(len(rows)), names[::-1], parse_math=False)
    axes.set(xlabel="macro AUROC", ylim=(-0.6, len(rows) - 0.3))
    return figure


def sweep(found):
    """Macro AUROC over the number of leads with its interval and that of untrained models; each single lead beside."""
    both = bool(found.single) and bool(found.k)
    widths = {"width_ratios": (3, 2)} if both else {}
    figure, axes = _figure(8.5 if both else 6.5, 3.6, 1, 2 if both else 1, sharey=both, gridspec_kw=widths)
    first = axes[0, 0]
    if found.k:
        _band(first, found.k, [found.metrics[k]["roc_auc"] for k in found.k], BLUE, "first k leads, 95 % over patients")
        others = [report.untrained for report in found.reports]
        if all(others):
            values = [other.metrics["roc_auc"] for other in others]
            _band(first, found.k, values, GREY, f"untrained, {others[0].spread}")
        first.set_xticks(found.k)
        first.set(xlabel=f"k, in the order {' '.join(found.order)}", ylabel="macro AUROC")
        first.xaxis.label.set_fontsize(8)
        first.legend(loc="lower left", bbox_to_anchor=(0, 1.0), frameon=False, borderaxespad=0.2, fontsize=8)
    if found.single:
        last = axes[0, -1]
        for place, report in enumerate(found.single.values()):
            values = report.metrics["roc_auc"]
            last.plot([place, place], [values["low"], values["high"]], color=PALE, linewidth=4, solid_capstyle="butt")
            last.plot(place, values["macro"], "o", color=BLUE, markersize=4.5)
        last.set_xticks(range(len(found.single)), list(found.single), rotation=60)
        last.set(xlabel="one lead alone", ylabel="" if both else "macro AUROC")
    return figure


def _band(axes, x, values, colour, label):
    axes.fill_between(x, [v["low"] for v in values], [v["high"] for v in values], color=colour, alpha=0.2, linewidth=0)
    axes.plot(x, [v["macro"] for v in values], "o-", color=colour, markersize=4, label=label)


KINDS = {
    "classes": classes,
    "roc": roc,
    "precision_recall": precision_recall,
    "reliability": reliability,
    "support": support,
    "beside": beside,
}
