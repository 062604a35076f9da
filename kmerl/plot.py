"""An ECG on ECG paper, true to scale, with the attention of a finding under it."""

from dataclasses import dataclass

import numpy as np

__all__ = ["plot_ecg"]

# Everything is drawn in millimetres of paper.
SPEED = 25.0  # mm a second
GAIN = 10.0  # mm a millivolt
MARGIN = 10.0
PULSE = 5.0  # width of the calibration pulse, 1 mV high
LEFT = MARGIN + 15.0  # where the traces start
HEADER = 12.0
FOOTER = 10.0
BAR = 8.0  # what a colour bar adds to the footer
MIN_WIDTH = 140.0  # so that title and colour bar have room beside a short trace
MAX_SECONDS = 300
MAX_ROW = 50.0  # a trace that needs more than this above or below its baseline runs into its neighbours

PAPER, MINOR, MAJOR, INK, FAINT, HIGHLIGHT = "#fffaf8", "#f9dcd7", "#eeb0a8", "#16181d", "#7a6f6d", "#2a52be"

GRID = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"))
COLUMN_SECONDS = 2.5
RHYTHM = "II"
NAMES = {name.lower(): name for row in GRID for name in row}


@dataclass
class Trace:
    """A stretch of one lead: which row and lead, from when to when, and where it begins on the paper."""

    row: int
    lead: int
    start: float  # seconds
    stop: float
    x: float  # mm


def plot_ecg(
    record,
    attention=None,
    *,
    fs=None,
    leads=None,
    layout="auto",
    start=0.0,
    seconds=10.0,
    title=None,
    finding=None,
    segment_seconds=0.2,
):
    """Draw a recording on ECG paper: 25 mm/s, 10 mm/mV, grid lines every 1 and 5 mm.

    Saved with ``figure.savefig(path)`` and printed at 100 %, millimetres are millimetres. Each lead is
    drawn about its own median; missing samples (NaN) are gaps.

    Parameters
    ----------
    record : Record or array_like (leads, samples)
        In mV. An array needs ``fs`` and ``leads``.
    attention : array_like (leads, segments), optional
        From ``model.attend``: one row for each lead of the record, in its order, one column for each
        segment of ``segment_seconds`` from the start of the recording. Segments with more than an even share
        are coloured, the more the stronger; 0 or NaN (a lead the model did not use) counts for nothing.
    fs : float, optional
        Hz, of an array.
    leads : sequence of str, optional
        Names of an array's rows; of a record, which of its leads to draw, in this order.
    layout : {"auto", "grid", "rows"}
        "grid" is the usual printout of twelve leads: three rows of four leads, 2.5 s each, over a rhythm
        strip of lead II. "rows" draws each lead in a row of its own. "auto" takes the grid for a
        twelve-lead recording without attention: the grid hides three quarters of what attention covers.
    start, seconds : float
        The stretch to draw, at most 300 s; ``seconds=None`` draws to the end. The grid draws 10 s.
    title : str, optional
        The record's name by default.
    finding : str, optional
        What the attention is about, for the colour bar.
    segment_seconds : float
        Length of a segment of ``attention``: 100 samples at 500 Hz by default.

    Returns
    -------
    matplotlib.figure.Figure
        In a notebook it is shown as the value of its cell, in a script by ``pyplot.show()``.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError, ValueError
        Arguments that do not fit each other; the message says which.
    """
    try:
        import matplotlib
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("plot_ecg needs matplotlib: pip install matplotlib") from None

    signal, fs, names, name = _recording(record, fs, leads if not hasattr(record, "signal") else None)
    shown = (
        _chosen(names, leads) if hasattr(record, "signal") and leads is not None else list(range(len(names)))
    )
    duration = signal.shape[1] / fs
    start, seconds = _stretch(start, seconds, duration)
    if attention is not None:
        attention = _attention(attention, names, duration, segment_seconds)
    layout = _layout(layout, [names[i] for i in shown], attention is not None)

    if layout == "grid":
        seconds = 4 * COLUMN_SECONDS
        traces = _grid_traces(names, start)
    else:
        traces = [Trace(row, lead, start, start + seconds, LEFT) for row, lead in enumerate(shown)]
    signal = signal - _medians(signal)
    above, below = _row_heights(traces, signal, fs)

    footer = FOOTER + (BAR if attention is not None else 0)
    width = max(LEFT + 5 * np.ceil(SPEED * seconds / 5 - 1e-6) + MARGIN, MIN_WIDTH)
    height = HEADER + sum(above) + sum(below) + footer
    baseline = height - HEADER - np.cumsum(above) - np.concatenate([[0], np.cumsum(below)[:-1]])

    figure = pyplot.figure(figsize=(width / 25.4, height / 25.4), dpi=150, facecolor=PAPER)
    if "inline" in matplotlib.get_backend().lower():
        pyplot.close(figure)  # a notebook would show it twice: by itself, and as the value of the cell
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")

    _draw_paper(axes, (MARGIN, width - MARGIN), (footer, height - HEADER))
    if attention is not None:
        _draw_attention(figure, axes, attention, traces, baseline, above, below, segment_seconds, finding)
    for trace in traces:
        _draw_trace(axes, trace, signal[trace.lead], fs, baseline[trace.row])
        _draw_name(axes, trace, names[trace.lead], baseline[trace.row], above[trace.row])
    for y in baseline:
        _draw_pulse(axes, y)
    _draw_words(axes, width, height, name if title is None else title, fs, start, seconds, duration)
    return figure


# ---- What is drawn, checked ----


def _recording(record, fs, leads):
    if hasattr(record, "signal"):
        if fs is not None:
            raise ValueError(f"fs is {fs!r}, but the record has its own: {record.fs:g} Hz")
        signal, fs, leads, name = record.signal, record.fs, record.leads, getattr(record, "name", "") or ""
    else:
        if isinstance(record, (str, bytes)) or hasattr(record, "__fspath__"):
            raise TypeError(
                f"record is a path, expected a Record: plot_ecg(kmerl.read_record({str(record)!r}))"
            )
        if fs is None or leads is None:
            raise ValueError(
                "fs and leads are missing: an array needs its rate in Hz and the names of its rows"
            )
        signal, name = record, ""
    signal = np.asarray(signal)
    if signal.dtype.kind not in "iuf":
        raise TypeError(f"record has dtype {signal.dtype}, expected numbers in mV")
    if signal.ndim != 2 or 0 in signal.shape:
        raise ValueError(f"record has shape {signal.shape}, expected (leads, samples)")
    leads = [str(lead) for lead in leads]
    if len(leads) != len(signal):
        hint = f"; looks transposed: got {signal.shape}" if signal.shape[1] == len(leads) else ""
        raise ValueError(f"signal has {len(signal)} leads, leads names {len(leads)}{hint}")
    if not np.isfinite(fs) or fs <= 0:
        raise ValueError(f"fs is {fs!r}, expected a rate in Hz above 0")
    return signal.astype(np.float64), float(fs), [NAMES.get(lead.lower(), lead) for lead in leads], name


def _chosen(names, leads):
    leads = [leads] if isinstance(leads, str) else list(leads)
    places = {name.lower(): i for i, name in enumerate(names)}
    for lead in leads:
        if str(lead).lower() not in places:
            raise ValueError(f"leads names {lead!r}, the record has {', '.join(names)}")
    if not leads:
        raise ValueError("leads is empty, expected at least one lead")
    return [places[str(lead).lower()] for lead in leads]


def _stretch(start, seconds, duration):
    if not np.isfinite(start) or not 0 <= start < duration:
        raise ValueError(f"start is {start!r} s, expected 0 to less than the recording's {duration:g} s")
    if seconds is None:
        seconds = duration - start
    if not np.isfinite(seconds) or seconds <= 0:
        raise ValueError(f"seconds is {seconds!r}, expected a time above 0 or None")
    seconds = float(min(seconds, duration - start))
    if seconds > MAX_SECONDS:
        raise ValueError(
            f"seconds is {seconds:g}, a page holds {MAX_SECONDS}; choose a part with start and seconds"
        )
    return float(start), seconds


def _attention(attention, names, duration, segment_seconds):
    attention = np.asarray(attention)
    if attention.dtype.kind not in "iuf":
        raise TypeError(f"attention has dtype {attention.dtype}, expected numbers")
    attention = attention.astype(np.float64)
    if attention.ndim != 2 or len(attention) != len(names) or attention.shape[1] == 0:
        raise ValueError(
            f"attention has shape {attention.shape}, expected ({len(names)}, segments): one row for each "
            "lead of the record, as model.attend(record, name) gives it"
        )
    if not np.isfinite(segment_seconds) or segment_seconds <= 0:
        raise ValueError(f"segment_seconds is {segment_seconds!r}, expected a time above 0")
    covered = attention.shape[1] * segment_seconds
    if covered >= duration + segment_seconds:
        raise ValueError(
            f"attention has {attention.shape[1]} segments of {segment_seconds:g} s, {covered:g} s in all; "
            f"the recording has {duration:g} s"
        )
    if np.nanmin(attention, initial=np.inf) < 0 or not np.nanmax(attention, initial=0) < np.inf:
        raise ValueError("attention holds negative or infinite values, expected shares of 1")
    return attention


def _layout(layout, names, with_attention):
    if layout not in ("auto", "grid", "rows"):
        raise ValueError(f'layout is {layout!r}, expected "auto", "grid" or "rows"')
    twelve = sorted(names) == sorted(NAMES.values())
    if layout == "grid" and not twelve:
        raise ValueError(f'layout "grid" needs the twelve standard leads, got {", ".join(names)}; use "rows"')
    if layout == "auto":
        return "grid" if twelve and not with_attention else "rows"
    return layout


# ---- Where it goes ----


def _grid_traces(names, start):
    traces = []
    for row, leads in enumerate(GRID):
        for column, lead in enumerate(leads):
            begin = start + column * COLUMN_SECONDS
            x = LEFT + SPEED * COLUMN_SECONDS * column
            traces.append(Trace(row, names.index(lead), begin, begin + COLUMN_SECONDS, x))
    traces.append(Trace(len(GRID), names.index(RHYTHM), start, start + 4 * COLUMN_SECONDS, LEFT))
    return traces


def _samples(trace, signal, fs):
    """The trace's first sample and the one after its last."""
    return round(trace.start * fs), min(signal.shape[-1], round(trace.stop * fs) + 1)


def _medians(signal):
    medians = np.zeros((len(signal), 1))
    for row, lead in enumerate(signal):
        known = lead[np.isfinite(lead)]
        medians[row] = np.median(known) if len(known) else 0
    return medians


def _row_heights(traces, signal, fs):
    """Millimetres above and below the baseline of each row: what its traces need, in steps of the grid."""
    rows = 1 + max(trace.row for trace in traces)
    above, below = np.full(rows, 10.0), np.full(rows, 5.0)
    for trace in traces:
        first, end = _samples(trace, signal, fs)
        known = signal[trace.lead, first:end]
        known = known[np.isfinite(known)] * GAIN
        if len(known):
            above[trace.row] = max(above[trace.row], np.ceil(known.max() / 5 + 0.6) * 5)
            below[trace.row] = max(below[trace.row], np.ceil(-known.min() / 5 + 0.1) * 5)
    return np.minimum(above, MAX_ROW), np.minimum(below, MAX_ROW)


# ---- Ink ----


def _draw_paper(axes, x, y):
    from matplotlib.collections import LineCollection

    for step, colour, line_width in ((1, MINOR, 0.35), (5, MAJOR, 0.6)):
        columns = np.arange(x[0], x[1] + 0.01, step)
        rows = np.arange(y[0], y[1] + 0.01, step)
        lines = [((c, rows[0]), (c, rows[-1])) for c in columns] + [
            ((columns[0], r), (columns[-1], r)) for r in rows
        ]
        axes.add_collection(LineCollection(lines, colors=colour, linewidths=line_width, zorder=0))


def _draw_trace(axes, trace, signal, fs, y):
    first, end = _samples(trace, signal, fs)
    time = np.arange(first, end) / fs
    x = trace.x + SPEED * (time - trace.start)
    axes.plot(x, y + GAIN * signal[first:end], color=INK, linewidth=0.8, solid_joinstyle="round", zorder=3)


def _draw_name(axes, trace, name, y, above):
    from matplotlib.patheffects import withStroke

    first = trace.x == LEFT
    if not first:  # where one lead ends and the next begins
        axes.plot([trace.x, trace.x], [y - 3, y + 3], color=INK, linewidth=0.8, zorder=3)
    axes.text(
        trace.x + 1,
        y + above - 1.2,
        name,
        color=INK,
        fontsize=9,
        fontweight="bold",
        va="top",
        zorder=4,
        parse_math=False,
        path_effects=[withStroke(linewidth=2.5, foreground=PAPER)],
    )


def _draw_pulse(axes, y):
    x = LEFT - PULSE - 5
    steps = ((-2, 0), (0, 0), (0, GAIN), (PULSE, GAIN), (PULSE, 0), (PULSE + 2, 0))
    axes.plot([x + dx for dx, _ in steps], [y + dy for _, dy in steps], color=INK, linewidth=0.8, zorder=3)


def _draw_words(axes, width, height, title, fs, start, seconds, duration):
    axes.text(
        MARGIN, height - 6, title, color=INK, fontsize=11, fontweight="bold", va="center", parse_math=False
    )
    whole = start == 0 and seconds > duration - 0.01
    stretch = f"{duration:g} s" if whole else f"{start:g} to {start + seconds:g} s of {duration:g} s"
    axes.text(
        width - MARGIN, height - 6, f"{stretch}, {fs:g} Hz", color=FAINT, fontsize=8, ha="right", va="center"
    )
    axes.text(MARGIN, 4, "25 mm/s   10 mm/mV", color=FAINT, fontsize=8, va="center")


def _draw_attention(figure, axes, attention, traces, baseline, above, below, segment_seconds, finding):
    """Colour where a segment has more than an even share of the attention; the bar counts even shares."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
    from matplotlib.ticker import MaxNLocator

    used = attention[np.nansum(attention, axis=1) > 0]  # leads
    shares = attention / (np.nanmean(used) if len(used) else 1.0)
    top = max(2.0, np.nanpercentile(shares, 99.5)) if len(used) else 2.0
    scale = Normalize(1, top, clip=True)
    colours = LinearSegmentedColormap.from_list("attention", [(*to_rgb(HIGHLIGHT), a) for a in (0.0, 0.75)])
    boxes, values = [], []
    for trace in traces:
        low, high = (
            baseline[trace.row] - below[trace.row] + 0.25,
            baseline[trace.row] + above[trace.row] - 0.25,
        )
        for segment, value in enumerate(shares[trace.lead]):
            begin = max(trace.start, segment * segment_seconds)
            end = min(trace.stop, (segment + 1) * segment_seconds)
            if end > begin and np.isfinite(value):
                left, right = (trace.x + SPEED * (t - trace.start) for t in (begin, end))
                boxes.append(((left, low), (right, low), (right, high), (left, high)))
                values.append(value)
    axes.add_collection(
        PolyCollection(boxes, facecolors=colours(scale(values)), linewidths=0, antialiaseds=False, zorder=1)
    )

    width, height = axes.get_xlim()[1], axes.get_ylim()[1]
    length = 60.0
    place = figure.add_axes(((width - MARGIN - length) / width, 6.0 / height, length / width, 3.0 / height))
    extend = "max" if len(used) and np.nanmax(shares) > top else "neither"
    bar = figure.colorbar(
        ScalarMappable(scale, colours), cax=place, orientation="horizontal", extend=extend, format="%gx"
    )
    bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    bar.ax.tick_params(labelsize=7, colors=FAINT, length=2, width=0.5)
    bar.locator = MaxNLocator(nbins=4, steps=[1, 2, 5, 10])
    bar.update_ticks()
    subject = f"attention to {finding}" if finding else "attention"
    words = f"{subject}, times an even share"
    axes.text(width - MARGIN, 12.5, words, color=INK, fontsize=8, ha="right", va="center", parse_math=False)
