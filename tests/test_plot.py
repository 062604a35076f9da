"""plot_ecg: true to scale, everything named, attention where it belongs."""

from types import SimpleNamespace

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.collections import LineCollection, PolyCollection  # noqa: E402

from kmerl.plot import GRID, plot_ecg  # noqa: E402

TWELVE = ["I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6"]


@pytest.fixture(autouse=True)
def close():
    yield
    pyplot.close("all")


def ecg(leads=TWELVE, seconds=10.0, fs=500, name="A0001"):
    """Each lead a pulse train: 1 mV high for 10 ms once a second, from 0.5 s on, about a baseline of 3 mV."""
    signal = np.full((len(leads), round(seconds * fs)), 3.0, np.float32)
    for beat in np.arange(0.5, seconds, 1):
        signal[:, round(beat * fs) : round((beat + 0.01) * fs)] += 1
    return SimpleNamespace(signal=signal, fs=fs, leads=list(leads), name=name)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def traces(figure, points=20):
    return [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) > points]


def boxes(figure):
    found = [c for c in figure.axes[0].collections if isinstance(c, PolyCollection)]
    assert len(found) == 1
    return [path.get_extents() for path in found[0].get_paths()], found[0].get_facecolors()


def test_one_axes_unit_is_a_millimetre_of_paper():
    figure = plot_ecg(ecg())
    axes = figure.axes[0]
    width, height = figure.get_size_inches() * 25.4
    assert axes.get_xlim() == pytest.approx((0, width)) and axes.get_ylim() == pytest.approx((0, height))
    assert tuple(axes.get_position().bounds) == (0, 0, 1, 1)
    assert width > 250


@pytest.mark.parametrize("layout", ["grid", "rows"])
def test_scale_is_25_mm_a_second_and_10_mm_a_millivolt(layout):
    for xy in traces(plot_ecg(ecg(), layout=layout)):
        assert np.ptp(xy[:, 1]) == pytest.approx(10)
        onsets = xy[1:, 0][np.diff(xy[:, 1]) > 5]
        assert np.diff(onsets) == pytest.approx(25 * np.ones(len(onsets) - 1))


def test_paper_has_lines_every_millimetre_and_stronger_ones_every_five():
    figure = plot_ecg(ecg())
    minor, major = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    for lines, step in ((minor, 1), (major, 5)):
        for axis in (0, 1):
            at = sorted(
                {segment[0, axis] for segment in lines.get_segments() if np.ptp(segment[:, axis]) == 0}
            )
            assert np.diff(at) == pytest.approx(np.full(len(at) - 1, step))
    assert major.get_linewidths()[0] > minor.get_linewidths()[0]
    # baselines and the start of the traces lie on strong lines
    heights = [segment[0, 1] for segment in major.get_segments()]
    starts = [segment[0, 0] for segment in major.get_segments()]
    for xy in traces(figure):
        assert np.abs(heights - np.median(xy[:, 1])).min() < 1e-6
        assert np.abs(starts - traces(figure)[0][0, 0]).min() < 1e-6


def test_calibration_pulse_is_1_mv_and_a_fifth_of_a_second():
    figure = plot_ecg(ecg())
    pulses = [line.get_xydata() for line in figure.axes[0].lines if len(line.get_xdata()) == 6]
    assert len(pulses) == 4  # one a row
    for pulse in pulses:
        assert np.ptp(pulse[:, 1]) == 10
        assert pulse[3, 0] - pulse[2, 0] == 5


def test_grid_layout_is_the_usual_printout():
    record = ecg(seconds=12)
    for row, _ in enumerate(record.signal):
        record.signal[row] += np.linspace(0, 0.001 * (row + 1), record.signal.shape[1])
    figure = plot_ecg(record)
    drawn = traces(figure)
    assert len(drawn) == 13
    places = [(round(np.median(xy[:, 1]) / 5), round(xy[0, 0], 3)) for xy in drawn]
    rows = sorted({row for row, _ in places}, reverse=True)
    columns = sorted({x for _, x in places})
    assert len(rows) == 4 and np.diff(columns) == pytest.approx([62.5] * 3)
    names = [text for text in texts(figure) if text in sum(GRID, ())]
    assert names == [*GRID[0], *GRID[1], *GRID[2], "II"]
    assert np.ptp(drawn[-1][:, 0]) == pytest.approx(250)
    # one time axis: the columns follow each other, so 2.5 s later there are other beats
    assert drawn[1][:, 0].min() == pytest.approx(drawn[0][:, 0].max())
    assert "0 to 10 s of 12 s, 500 Hz" in texts(figure)


def test_rows_for_any_leads_duration_and_rate():
    figure = plot_ecg(ecg(leads=["V9", "ii"], seconds=3.3, fs=360))
    drawn = traces(figure)
    assert len(drawn) == 2
    assert np.ptp(drawn[0][:, 0]) == pytest.approx(25 * 3.3, abs=25 / 360)
    assert {"V9", "II", "A0001", "25 mm/s   10 mm/mV", "3.3 s, 360 Hz"} <= set(texts(figure))


def test_short_twelve_lead_recording_in_the_grid():
    assert len(traces(plot_ecg(ecg(seconds=4)), points=1)) >= 13


def test_start_and_seconds_choose_the_stretch():
    figure = plot_ecg(ecg(leads=["I"], seconds=30), start=10, seconds=5)
    (xy,) = traces(figure)
    assert np.ptp(xy[:, 0]) == pytest.approx(125)
    assert "10 to 15 s of 30 s, 500 Hz" in texts(figure)
    (xy,) = traces(plot_ecg(ecg(leads=["I"], seconds=30), seconds=None))
    assert np.ptp(xy[:, 0]) == pytest.approx(750, abs=0.1)


def test_leads_chosen_and_ordered_by_name():
    figure = plot_ecg(ecg(), leads=["v6", "aVR"])
    assert [text for text in texts(figure) if text in ("V6", "aVR", "I")] == ["V6", "aVR"]


def test_arrays():
    record = ecg(leads=["I", "II"])
    assert len(traces(plot_ecg(record.signal, fs=500, leads=["I", "II"]))) == 2


def test_missing_samples_are_gaps_and_empty_leads_are_drawn():
    record = ecg(leads=["I", "II"])
    record.signal[0, 1000:1100] = np.nan
    record.signal[1] = np.nan
    drawn = traces(plot_ecg(record))
    assert np.isnan(drawn[0][:, 1]).sum() == 100 and np.isnan(drawn[1][:, 1]).all()


def test_large_signals_make_room_but_not_without_end():
    heights = []
    for scale in (1, 3, 1000):
        record = ecg(leads=["I"])
        record.signal *= scale
        heights.append(plot_ecg(record).get_size_inches()[1])
    assert heights[0] < heights[1] < heights[2] < 4


def test_attention_lies_under_its_lead_and_segment():
    record = ecg(leads=["II", "V1"])
    attention = np.full((2, 50), 0.5 / 99)
    attention[1, 7] = 0.5
    figure = plot_ecg(record, attention, finding="atrial fibrillation")
    places, colours = boxes(figure)
    assert len(places) == 100
    strongest = places[np.argmax(colours[:, 3])]
    xy = traces(figure)[1]
    assert strongest.x0 == pytest.approx(xy[0, 0] + 7 * 5) and strongest.width == pytest.approx(5)
    baseline = np.median(xy[:, 1])
    assert strongest.y0 < baseline < strongest.y1 < np.median(traces(figure)[0][:, 1])
    assert np.count_nonzero(colours[:, 3]) == 1  # all others have less than an even share
    assert "attention to atrial fibrillation, times an even share" in texts(figure)


def test_attention_counts_even_shares():
    record = ecg(leads=["I", "II"], seconds=4)
    attention = np.array(
        [[0.02] * 10 + [0.06] * 5 + [0.1] * 5, [0] * 20]
    )  # even: 1 / 20; the second lead is unused
    figure = plot_ecg(record, attention)
    _, colours = boxes(figure)
    strength = colours[:, 3]
    assert (strength[:10] == 0).all() and (strength[20:] == 0).all()
    assert strength[15:20] == pytest.approx(0.75, abs=0.01) and strength[10:15] == pytest.approx(
        0.15, abs=0.01
    )
    assert figure.axes[1].get_xlim() == pytest.approx((1, 2))


def test_even_attention_has_no_colour():
    _, colours = boxes(plot_ecg(ecg(), np.full((12, 50), 1 / 600)))
    assert colours[:, 3].max() < 0.01


def test_attention_in_the_grid_is_cut_to_what_is_seen():
    attention = np.full((12, 50), 1 / 600)
    places, _ = boxes(plot_ecg(ecg(), attention, layout="grid"))
    assert sum(place.width for place in places) == pytest.approx(12 * 62.5 + 250)
    assert min(place.width for place in places) == pytest.approx(2.5)  # columns change within a segment
    assert max(place.width for place in places) == pytest.approx(5)


def test_attention_shows_twelve_leads_in_rows_by_default():
    assert len(traces(plot_ecg(ecg(), np.full((12, 50), 1 / 600)))) == 12


def test_attention_rows_follow_the_record_when_leads_are_chosen():
    attention = np.zeros((12, 50))
    attention[6, 0] = 1
    _, colours = boxes(plot_ecg(ecg(), attention, leads=["V1"]))
    assert colours[0, 3] > 0.5 and (colours[1:, 3] == 0).all()


def test_leads_without_attention_have_no_colour():
    attention = np.full((2, 10), 0.1)
    attention[1] = np.nan
    places, _ = boxes(plot_ecg(ecg(leads=["I", "II"], seconds=2.1), attention))
    assert len(places) == 10


def test_saves(tmp_path):
    for suffix in ("png", "pdf", "svg"):
        plot_ecg(ecg(seconds=2), np.full((12, 10), 1 / 120)).savefig(tmp_path / f"ecg.{suffix}")
        assert (tmp_path / f"ecg.{suffix}").stat().st_size > 1000


def test_hours_do_not_fit_on_a_page():
    day = SimpleNamespace(signal=np.zeros((1, 86400)), fs=1, leads=["I"], name="holter")
    with pytest.raises(ValueError, match="seconds is 86400, a page holds 300; choose a part"):
        plot_ecg(day, seconds=None)
    assert len(traces(plot_ecg(day, start=40000, seconds=60))) == 1


def test_names_are_not_formulas():
    figure = plot_ecg(ecg(name=r"$\frac$"), np.full((12, 50), 1), finding="$x_{$")
    figure.canvas.draw()
    texts = " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))
    assert "frac" in texts and "x_{" in texts


def test_smallest_recording():
    figure = plot_ecg(SimpleNamespace(signal=np.zeros((1, 1)), fs=1, leads=["I"]))
    figure.canvas.draw()
    assert "I" in [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


RECORD = ecg(leads=["I", "II"])


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ((RECORD.signal,), ValueError, "fs and leads are missing"),
        (("A0001",), TypeError, "record is a path"),
        ((RECORD, np.zeros((3, 50))), ValueError, r"attention has shape \(3, 50\), expected \(2, segments\)"),
        ((RECORD, np.zeros(50)), ValueError, r"attention has shape \(50,\)"),
        (
            (RECORD, np.zeros((2, 60))),
            ValueError,
            "attention has 60 segments of 0.2 s, 12 s in all; the recording has 10 s",
        ),
        ((RECORD, -np.ones((2, 50))), ValueError, "attention holds negative"),
        ((RECORD, [["a"], ["b"]]), TypeError, "attention has dtype"),
        (
            (SimpleNamespace(signal=np.zeros((5000, 2)), fs=500, leads=["I", "II"]),),
            ValueError,
            "looks transposed",
        ),
        (
            (SimpleNamespace(signal=np.zeros((2, 0)), fs=500, leads=["I", "II"]),),
            ValueError,
            r"\(2, 0\), expected",
        ),
        (
            (SimpleNamespace(signal=np.zeros((1, 9)), fs=0, leads=["I"]),),
            ValueError,
            "fs is 0, expected a rate in Hz",
        ),
    ],
)
def test_bad_recordings_and_attention(arguments, error, message):
    with pytest.raises(error, match=message):
        plot_ecg(*arguments)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"layout": "grid"}, 'layout "grid" needs the twelve standard leads, got I, II'),
        ({"layout": "3x4"}, "layout is '3x4'"),
        ({"start": 10}, "start is 10 s, expected 0 to less than the recording's 10 s"),
        ({"seconds": 0}, "seconds is 0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"fs": 250}, "the record has its own: 500 Hz"),
        ({"leads": ["I", "V1"]}, "leads names 'V1', the record has I, II"),
        ({"leads": []}, "leads is empty"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        plot_ecg(RECORD, **options)
