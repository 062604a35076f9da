"""Recordings: names of leads, the WFDB reader, Record, as_records."""

import os
import pathlib
import struct
import sys

import numpy as np
import pytest

import kmerl
from kmerl import leads as km_leads
from kmerl.record import as_record, as_records

DATA = pathlib.Path(__file__).resolve().parent.parent.parent / "shared" / "data"
TWELVE = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]


def steps(rows=3, samples=50, seed=0):
    """Digital samples (rows, samples) without the mark for missing ones."""
    return np.random.default_rng(seed).integers(-32767, 32768, (rows, samples)).astype(np.int16)


def checksum(x):
    return int(np.int64(x.astype(np.int64).sum()).astype(np.int16))


def write(
    folder,
    x,
    names=None,
    record="r",
    file=None,
    line=None,
    gain="1000(0)/mV",
    fmt="16",
    sums=True,
    ending="\n",
    comments=(),
    prefix=b"",
    last="\n",
):
    """A format 16 record; line replaces the record line, gain may be a list."""
    names = TWELVE[: len(x)] if names is None else names
    gains = [gain] * len(x) if isinstance(gain, str) else gain
    file = file or f"{record}.dat"
    lines = [line or f"{record} {len(x)} 500 {x.shape[1]}"]
    for row, name, g in zip(x, names, gains, strict=True):
        lines.append(f"{file} {fmt} {g} 16 0 {row[0]} {f'{checksum(row)} 0' if sums else ''} {name}".rstrip())
    lines += [f"#{c}" for c in comments]
    (folder / f"{record}.hea").write_bytes((ending.join(lines) + last).encode())
    if "/" not in file:
        (folder / file).write_bytes(prefix + np.ascontiguousarray(x.T).astype("<i2").tobytes())
    return str(folder / record)


def matlab(x):
    """The head of a MATLAB v4 file of 16-bit integers named val."""
    return struct.pack("<5i", 30, x.shape[0], x.shape[1], 0, 4) + b"val\0"


# Leads


def test_orders_are_permutations_of_the_twelve():
    assert list(km_leads.LEADS) == TWELVE
    assert set(km_leads.ORDERS) == {"clinical", "mimic", "paper"}
    for order in km_leads.ORDERS.values():
        assert sorted(order) == sorted(TWELVE)
    assert km_leads.ORDERS["mimic"][3:6] == ["aVR", "aVF", "aVL"]
    assert km_leads.ORDERS["paper"][3:6] == ["aVF", "aVR", "aVL"]


def test_lead_names_in_any_case_and_with_blanks():
    assert km_leads.lead_ids([" avr", "AVL ", "v6", "iii"]) == (3, 4, 11, 2)
    assert km_leads.lead_ids("II") == (1,)


@pytest.mark.parametrize(
    "names, error, part",
    [
        (["I", "V7"], ValueError, "'V7'"),
        (["I", "i"], ValueError, "lead I twice"),
        (["I", " "], ValueError, "no name"),
        ([], ValueError, "empty"),
        (["I", 2], TypeError, "leads[1]"),
        (3, TypeError, "lead names"),
        (["IIII"], ValueError, "IIII"),
        (["MLII"], ValueError, "MLII"),
        ([""], ValueError, "no name"),
        (["V1\0"], ValueError, "unknown"),
    ],
)
def test_bad_lead_names_are_named(names, error, part):
    with pytest.raises(error) as caught:
        km_leads.lead_ids(names)
    assert part in str(caught.value)


# WFDB


def test_format_16(tmp_path):
    x = steps(12, 100)
    record = kmerl.read_record(write(tmp_path, x, comments=["Age: 74", " Dx: AF "]))
    assert (
        record.signal.dtype == np.float32
        and record.signal.shape == (12, 100)
        and record.signal.flags.c_contiguous
    )
    np.testing.assert_array_equal(record.signal, (x / 1000).astype(np.float32))
    assert (record.fs, record.leads, record.name, record.comments) == (
        500.0,
        TWELVE,
        "r",
        ["Age: 74", "Dx: AF"],
    )
    assert (record.report, record.labels, record.patient) == (None, None, None)


@pytest.mark.parametrize("suffix", ["", ".hea", ".dat"])
def test_path_forms(tmp_path, suffix):
    path = write(tmp_path, steps())
    assert kmerl.read_record(path + suffix).name == "r"
    assert kmerl.read_record(pathlib.Path(path + suffix)).name == "r"
    assert kmerl.read_record(os.fsencode(path + suffix)).name == "r"


def test_matlab_file(tmp_path):
    x = steps(12, 77)
    path = write(
        tmp_path, x, file="r.mat", fmt="16+24", prefix=matlab(x), line="r.mat 12 500 77 12-May-2020 12:33:59"
    )
    record = kmerl.read_record(path)
    np.testing.assert_array_equal(record.signal, (x / 1000).astype(np.float32))
    assert kmerl.read_record(path + ".mat").name == "r"


def test_matlab_file_of_another_size(tmp_path):
    x = steps(12, 77)
    path = write(tmp_path, x, file="r.mat", fmt="16+24", prefix=matlab(x[:, :70]))
    with pytest.raises(ValueError, match="12 signals of 70 samples, the header says 12 of 77"):
        kmerl.read_record(path)


def test_each_lead_its_own_gain_baseline_and_unit(tmp_path):
    x = np.array([[100, -200, -32768], [100, 300, 7], [100, 300, 7], [100, 300, 7], [5, 6, 7]], np.int16)
    gains = ["1000(0)/mV", "200.5(-15)/MV", "2e3(100)/uV", "0.5/V", "0"]
    record = kmerl.read_record(write(tmp_path, x, gain=gains))
    expected = np.stack(
        [x[0] / 1000, (x[1] + 15) / 200.5, (x[2] - 100.0) / 2e3 * 1e-3, x[3] / 0.5 * 1e3, x[4] / 200]
    )
    expected[0, 2] = np.nan
    np.testing.assert_allclose(record.signal, expected, rtol=1e-6)


def test_defaults_of_left_out_fields(tmp_path):
    (tmp_path / "a.hea").write_text("a 2 360\na.dat 16 200 12 30 0 0 0 I\na.dat 16 II\n")
    (tmp_path / "a.dat").write_bytes(np.array([[230, 30], [30, 400]], "<i2").tobytes())
    with pytest.raises(ValueError, match="lead I fails its checksum"):
        kmerl.read_record(tmp_path / "a")
    record = kmerl.read_record(tmp_path / "a", verify=False)
    assert record.fs == 360 and record.signal.shape == (2, 2)
    np.testing.assert_allclose(record.signal, [[1.0, 0.0], [0.15, 2.0]])  # baseline: the ADC's zero


@pytest.mark.parametrize(
    "line",
    [
        "r 3 500 50 12-May-2020 12:33:59",
        "r 3 500 50 12:33:59 12/05/2020",
        "r 3 500 50 31/31/20201 99:99",
        "r 3 500/500(0) 50",
        "r 3 500.0/1(-3.5) 50 0:0:0",
        "r.mat 3 500 50",
        "r 3 500 0",
        "r 3 500",
        "r 3 500 12:00:00",
        "r\t3\t5e2  50",
        "r 3 500 50 ???",
    ],
)
@pytest.mark.parametrize(
    "ending, last", [("\n", ""), ("\r\n", "\r\n"), ("\r\n", ""), ("\r", "\r"), ("\n", "\n\n")]
)
def test_record_lines_in_circulation(tmp_path, line, ending, last):
    x = steps(3, 50)
    record = kmerl.read_record(write(tmp_path, x, line=line, ending=ending, last=last, fmt="16x1"))
    assert record.fs == 500
    np.testing.assert_array_equal(record.signal, (x / 1000).astype(np.float32))


def test_unsigned_checksums_blank_lines_comments_anywhere_and_byte_order_mark(tmp_path):
    x = np.array([[-1, -2, -3]], np.int16)
    (tmp_path / "r.dat").write_bytes(x.astype("<i2").tobytes())
    (tmp_path / "r.hea").write_bytes(
        "\ufeff# first\n\n r 1 500 3 \n#  \u00c4lter: 5\n"
        "r.dat 16 1000/\u00b5V 16 0 -1 65530 0  avl \n".encode()
    )
    record = kmerl.read_record(tmp_path / "r")
    assert record.leads == ["aVL"] and record.comments == ["first", "\u00c4lter: 5"]
    np.testing.assert_allclose(record.signal, [[-1e-6, -2e-6, -3e-6]])


def test_latin_1_comment(tmp_path):
    path = write(tmp_path, steps())
    with open(path + ".hea", "ab") as f:
        f.write("#unbest\u00e4tigt".encode("latin-1"))
    assert kmerl.read_record(path).comments == ["unbest\u00e4tigt"]


def test_two_signal_files_and_leads_that_are_not_of_the_twelve(tmp_path):
    x, y = steps(2, 40), steps(2, 40, seed=1)
    path = write(tmp_path, x, line="r 4 1000 40", names=["i", "ii"])
    with open(path + ".hea", "a") as f:
        for row, name in zip(y, ["vx", "v1"], strict=True):
            f.write(f"r.xyz 16 2000 16 0 {row[0]} {checksum(row)} 0 {name}\n")
    (tmp_path / "r.xyz").write_bytes(np.ascontiguousarray(y.T).astype("<i2").tobytes())
    with pytest.raises(ValueError, match="unknown lead 'vx'.*leads=\"known\""):
        kmerl.read_record(path)
    known = kmerl.read_record(path, leads="known")
    assert known.leads == ["I", "II", "V1"]
    np.testing.assert_array_equal(known.signal[2], (y[1] / 2000).astype(np.float32))
    some = kmerl.read_record(path, leads=["V1", "I"])
    assert some.leads == ["V1", "I"]
    np.testing.assert_array_equal(some.signal, known.signal[[2, 0]])
    with pytest.raises(ValueError, match="no lead V6"):
        kmerl.read_record(path, leads=["V6"])


def test_bad_unit_of_a_lead_that_is_not_read(tmp_path):
    path = write(tmp_path, steps(2), gain=["1000/mV", "1000/mmHg"])
    with pytest.raises(ValueError, match="lead II has the unknown unit 'mmHg'; known: mV, uV, V"):
        kmerl.read_record(path)
    assert kmerl.read_record(path, leads="I").leads == ["I"]


def test_checksum(tmp_path):
    x = steps(3, 50)
    path = write(tmp_path, x)
    y = x.copy()
    y[1, 20] ^= 1
    (tmp_path / "r.dat").write_bytes(np.ascontiguousarray(y.T).astype("<i2").tobytes())
    with pytest.raises(ValueError, match="r.hea: lead II fails its checksum.*verify=False"):
        kmerl.read_record(path)
    np.testing.assert_array_equal(kmerl.read_record(path, verify=False).signal, (y / 1000).astype(np.float32))


@pytest.mark.parametrize(
    "samples, error",
    [
        (60, "holds 50 samples a signal, the header says 60"),
        (10**12, "the header says 1000000000000"),
        (40, "holds 50 samples a signal, the header says 40.*verify=False"),
    ],
)
def test_header_that_lies_about_length(tmp_path, samples, error):
    path = write(tmp_path, steps(3, 50), line=f"r 3 500 {samples}", sums=False)
    with pytest.raises(ValueError, match=error):
        kmerl.read_record(path)
    if samples < 50:
        assert kmerl.read_record(path, verify=False).signal.shape == (3, samples)


@pytest.mark.parametrize("size", [0, 1, 5, 299])
def test_truncated_signal_file(tmp_path, size):
    path = write(tmp_path, steps(3, 50))
    os.truncate(tmp_path / "r.dat", size)
    with pytest.raises(ValueError, match="r.dat is truncated"):
        kmerl.read_record(path)


def test_missing_files(tmp_path):
    path = write(tmp_path, steps())
    os.remove(tmp_path / "r.dat")
    with pytest.raises(FileNotFoundError, match=r"No such file \(the header .*r\.hea names it\): .*r\.dat"):
        kmerl.read_record(path)
    with pytest.raises(FileNotFoundError, match=r"No such file: .*nothing\.hea"):
        kmerl.read_record(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        kmerl.read_record(tmp_path)


@pytest.mark.parametrize("file", ["../r.dat", "/etc/passwd", "a/../../r.dat", "..\\r.dat", "-", "C:r.dat"])
@pytest.mark.parametrize("fmt", ["16", "212"])
def test_signal_path_that_leaves_the_folder(tmp_path, file, fmt):
    (tmp_path / "r.hea").write_text(f"r 1 500 3\n{file} {fmt} 1000/mV 16 0 0 0 0 I\n")
    with pytest.raises(ValueError, match="not in the folder of the record"):
        kmerl.read_record(tmp_path / "r")


def test_signal_in_a_subfolder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "r.hea").write_text("r 1 500 3\nsub/r..dat 16 1000/mV 16 0 1 6 0 I\n")
    (tmp_path / "sub" / "r..dat").write_bytes(np.array([1, 2, 3], "<i2").tobytes())
    assert kmerl.read_record(tmp_path / "r").signal.shape == (1, 3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_pipes_devices_and_folders_are_refused(tmp_path):
    path = write(tmp_path, steps())
    os.remove(tmp_path / "r.dat")
    os.mkfifo(tmp_path / "r.dat")
    with pytest.raises(OSError, match="pipe or device"):
        kmerl.read_record(path)
    os.mkfifo(tmp_path / "p.hea")
    with pytest.raises(OSError, match="pipe or device"):
        kmerl.read_record(tmp_path / "p")
    (tmp_path / "d.hea").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        kmerl.read_record(tmp_path / "d")
    (tmp_path / "n.hea").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="pipe or device"):
        kmerl.read_record(tmp_path / "n")


@pytest.mark.parametrize(
    "text, part",
    [
        ("", "no record line"),
        ("\n# only\n", "no record line"),
        ("r\n", "number of signals"),
        ("r x 500\n", "number of signals"),
        ("r 0 500 10\n", "0 signals"),
        ("r -1 500 10\n", "number of signals"),
        ("r 1 abc 10\nr.dat 16 I\n", "sampling frequency"),
        ("r 1 0 10\nr.dat 16 I\n", "between 1 and 100000 Hz"),
        ("r 1 -500 10\nr.dat 16 I\n", "between 1 and 100000 Hz"),
        ("r 1 nan 10\nr.dat 16 I\n", "sampling frequency"),
        ("r 1 1e9 10\nr.dat 16 I\n", "between 1 and 100000 Hz"),
        ("r 1 500 -10\nr.dat 16 I\n", "number of samples"),
        ("r 1 500 ten\nr.dat 16 I\n", "number of samples"),
        ("r 2 500 10\nr.dat 16 I\n", "says 2 signals, 1 signal lines"),
        ("r 1 500 10\nr.dat 16 I\nr.dat 16 II\n", "says 1 signals"),
        ("r 1 500 10\nr.dat\n", "format expected"),
        ("r 1 500 10\nr.dat sixteen I\n", "format expected"),
        ("r 1 500 10\nr.dat 16x0 I\n", "format expected"),
        ("r 1 500 10\nr.dat 16+-4 I\n", "format expected"),
        ("r 1 500 10\nr.dat 16 12(x)/mV 16 0 0 0 0 I\n", "gain expected"),
        ("r 1 500 10\nr.dat 16 1e999/mV 16 0 0 0 0 I\n", "gain"),
        ("r 1 500 10\nr.dat 16 1000/mV 16 0 0 0 0\n", "line 1: the lead has no name"),
        ("r 1 500 10\nr.dat 16 1000/mV 16 0 0 0 0 MLII\n", "unknown lead 'MLII'"),
        ("r 2 500 10\nr.dat 16 1 16 0 0 0 0 V1\nr.dat 16 1 16 0 0 0 0 v1\n", "V1 is there twice"),
        ("r 1 500 10\nr.dat 16 1000/furlong 16 0 0 0 0 I\n", "unknown unit 'furlong'"),
        ("r 1 500 1\0 0\n", "zero bytes"),
        (
            "r 2 500 10\nr.dat 16 1 16 0 0 0 0 V1\nr.dat 16+2 1 16 0 0 0 0 V2\n",
            "differ in format or first byte",
        ),
    ],
)
def test_malformed_headers(tmp_path, text, part):
    (tmp_path / "r.hea").write_text(text)
    (tmp_path / "r.dat").write_bytes(bytes(40))
    with pytest.raises(ValueError) as caught:
        kmerl.read_record(tmp_path / "r")
    assert part in str(caught.value) and "r.hea" in str(caught.value)


def test_no_bytes_crash_the_reader(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wfdb", None)
    path = write(tmp_path, steps(3, 50), comments=["x"])
    good = pathlib.Path(path + ".hea").read_bytes()
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(2000):
        text = bytearray(good)
        for _ in range(rng.integers(1, 4)):
            kind, at = rng.integers(3), rng.integers(len(text))
            if kind == 0:
                text[at] = rng.choice(list(b"0123456789-+./x:()# \n\r\0\xffIV"))
            elif kind == 1:
                del text[at : at + rng.integers(1, 9)]
            else:
                text[at:at] = text[at : at + rng.integers(1, 9)]
        pathlib.Path(path + ".hea").write_bytes(bytes(text))
        try:
            read += kmerl.read_record(path).signal.size > 0
        except (ValueError, OSError, ImportError):
            pass
    assert read > 0


def test_format_212_through_the_package(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    x = np.random.default_rng(0).normal(size=(400, 2))
    wfdb.wrsamp(
        "r",
        fs=250,
        units=["mV", "uV"],
        sig_name=["I", "v2"],
        p_signal=x,
        fmt=["212", "212"],
        write_dir=str(tmp_path),
    )
    record = kmerl.read_record(tmp_path / "r")
    expected, _ = wfdb.rdsamp(str(tmp_path / "r"))
    np.testing.assert_allclose(record.signal, (expected * [1, 1e-3]).T, rtol=1e-6)
    assert record.leads == ["I", "V2"] and record.fs == 250
    data = bytearray((tmp_path / "r.dat").read_bytes())
    data[100] ^= 1
    (tmp_path / "r.dat").write_bytes(bytes(data))
    with pytest.raises(ValueError, match="fails its checksum"):
        kmerl.read_record(tmp_path / "r")
    assert kmerl.read_record(tmp_path / "r", verify=False).signal.shape == (2, 400)
    os.truncate(tmp_path / "r.dat", 50)
    with pytest.raises(ValueError, match="r.hea"):
        kmerl.read_record(tmp_path / "r")


def test_sizes_are_held_to_the_files_before_the_package_makes_place(tmp_path, monkeypatch):
    """A header of 60 bytes must not cost gigabytes: what it promises is compared with its files first."""
    wfdb = pytest.importorskip("wfdb")
    monkeypatch.setattr(wfdb, "rdrecord", lambda *_, **__: pytest.fail("the package was asked"))
    (tmp_path / "r.dat").write_bytes(bytes(300))
    for form, samples, words in (
        ("212", 2_000_000_000, "file r.dat is truncated: it has 300 bytes, the header says 2,000,000,000 samples"),
        ("8", 301, "file r.dat is truncated"),
        ("516", 300 * 8192 + 1, "file r.dat is truncated"),
        ("16x1000000", 100, "file r.dat is truncated"),
    ):
        (tmp_path / "r.hea").write_text(f"r 1 500 {samples}\nr.dat {form} 1000/mV 16 0 0 0 0 I\n")
        with pytest.raises(ValueError, match=words):
            kmerl.read_record(tmp_path / "r")
    (tmp_path / "s.hea").write_text("s 1 500 100\nr.dat 16 1000/mV 16 0 0 0 0 I\n")
    for samples in (1 << 29, 2_000_000_000):
        (tmp_path / "r.hea").write_text(f"r/2 1 500 {samples}\ns 100\n~ {samples - 100}\n")
        with pytest.raises(ValueError, match=f"has {samples:,} samples a lead in segments, at most 268,435,456"):
            kmerl.read_record(tmp_path / "r", verify=False)
    (tmp_path / "r.hea").write_text("r 1 500 100\nnone.dat 212 1000/mV 16 0 0 0 0 I\n")
    with pytest.raises(FileNotFoundError, match="none.dat"):
        kmerl.read_record(tmp_path / "r")


def test_hint_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wfdb", None)
    (tmp_path / "r.hea").write_text("r 1 500 10\nr.dat 212 1000/mV 16 0 0 0 0 I\n")
    with pytest.raises(ImportError, match="pip install .*wfdb"):
        kmerl.read_record(tmp_path / "r")


def test_segments_through_the_package(tmp_path):
    pytest.importorskip("wfdb")
    x, y = steps(2, 30), steps(2, 20, seed=1)
    write(tmp_path, x, record="s1")
    write(tmp_path, y, record="s2")
    (tmp_path / "r.hea").write_text("r/2 2 500 50\ns1 30\ns2 20\n#hello\n")
    record = kmerl.read_record(tmp_path / "r")
    np.testing.assert_allclose(record.signal, np.concatenate([x, y], 1) / 1000, rtol=1e-6)
    assert record.leads == ["I", "II"] and record.comments == ["hello"]
    (tmp_path / "r.hea").write_text("r/2 2 500 50\n../s1 30\ns2 20\n")
    with pytest.raises(ValueError, match="not in the folder"):
        kmerl.read_record(tmp_path / "r")


def test_signals_of_two_rates_through_the_package(tmp_path):
    pytest.importorskip("wfdb")
    t = np.arange(500) / 500
    fast = np.round(1000 * np.sin(2 * np.pi * 3 * t)).astype("<i2")
    frames = np.stack([fast[0::2], fast[1::2], fast[0::2]], 1)  # II has half the rate
    (tmp_path / "r.dat").write_bytes(frames.tobytes())
    (tmp_path / "r.hea").write_text(
        "r 2 250 250\n"
        f"r.dat 16x2 1000/mV 16 0 0 {checksum(fast)} 0 I\n"
        f"r.dat 16 1000/mV 16 0 0 {checksum(fast[::2])} 0 II\n"
    )
    record = kmerl.read_record(tmp_path / "r")
    assert record.fs == 500 and record.signal.shape == (2, 500)
    np.testing.assert_allclose(record.signal[0], fast / 1000, rtol=1e-6)
    np.testing.assert_allclose(record.signal[1][100:-100], np.sin(2 * np.pi * 3 * t)[100:-100], atol=2e-3)


# Records


def test_record_by_hand():
    record = kmerl.Record(
        [[1, 2, 3], [4, 5, 6]], fs=np.int64(250), leads=("avf", "V2"), name="x", comments="one"
    )
    assert record.signal.dtype == np.float32 and record.fs == 250.0 and record.leads == ["aVF", "V2"]
    assert record.comments == ["one"] and record.seconds == 3 / 250 and "aVF" in repr(record)
    assert record.select(["v2"]).signal.tolist() == [[4, 5, 6]]
    with pytest.raises(ValueError, match="x has no lead I, V1"):
        record.select(["I", "V1"])


@pytest.mark.parametrize(
    "signal, leads, error, part",
    [
        (np.zeros((5000, 12)), TWELVE, ValueError, "looks transposed: got (5000, 12)"),
        (np.zeros((5000, 2)), ["I", "II"], ValueError, "looks transposed: got (5000, 2)"),
        (np.zeros((11, 50)), TWELVE, ValueError, "signal has 11 leads, leads names 12"),
        (np.zeros(50), ["I"], ValueError, "one lead is x[None, :]"),
        (np.zeros((0, 50)), ["I"], ValueError, "0 leads"),
        (np.zeros((1, 0)), ["I"], ValueError, "0 samples"),
        (np.zeros((1, 1, 50)), ["I"], ValueError, "got (1, 1, 50)"),
        (np.zeros((1, 5), complex), ["I"], TypeError, "complex128"),
        (np.zeros((1, 5), bool), ["I"], TypeError, "bool"),
        ([["a", "b"]], ["I"], TypeError, "dtype <U1"),
        (None, ["I"], TypeError, "dtype object"),
        ([[1, 2], [3]], ["I", "II"], ValueError, "different lengths"),
        (np.zeros((1, 5)), [], ValueError, "leads is empty"),
    ],
)
def test_bad_signals(signal, leads, error, part):
    with pytest.raises(error) as caught:
        kmerl.Record(signal, fs=500, leads=leads)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "fs, error",
    [
        (0, ValueError),
        (-1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (0.5, ValueError),
        (100_001, ValueError),
        (10**400, ValueError),
        ("500", TypeError),
        (None, TypeError),
        (True, TypeError),
        ([500, 1], TypeError),
    ],
)
def test_bad_rates(fs, error):
    with pytest.raises(error, match="fs must be"):
        kmerl.Record(np.zeros((1, 5)), fs=fs, leads=["I"])


# What holds recordings


def test_as_records(tmp_path):
    path = write(tmp_path, steps())
    x = np.arange(60.0).reshape(2, 30)
    record = kmerl.Record(x, 250, ["I", "II"])
    for one in (path, pathlib.Path(path), record):
        records, single = as_records(one)
        assert single and len(records) == 1
    assert as_records([path, record])[1] is False and as_records(iter([record]))[1] is False
    for one in (x, x.tolist(), list(x), x.astype(np.float32)):
        records, single = as_records(one, leads=["V1", "V2"], fs=100)
        assert single and records[0].leads == ["V1", "V2"] and records[0].fs == 100
        np.testing.assert_array_equal(records[0].signal, x)
    for many in (np.stack([x, x]), [x, x], [x.tolist(), x.tolist()], (y for y in [x, x])):
        records, single = as_records(many, leads=["V1", "V2"], fs=100)
        assert not single and len(records) == 2
        np.testing.assert_array_equal(records[1].signal, x)
    for column in (np.array([path, path]), np.array([record, path], dtype=object), [np.str_(path)] * 2):
        records, single = as_records(column)
        assert not single and len(records) == 2 and records[1].name == "r"
    records, _ = as_records([path, record], leads=["II"])
    assert [r.leads for r in records] == [["II"], ["II"]]


@pytest.mark.parametrize(
    "x, options, error, part",
    [
        ([], {}, ValueError, "empty list"),
        (None, {}, TypeError, "NoneType"),
        (3, {}, TypeError, "int"),
        ({}, {}, TypeError, "dict"),
        (np.zeros((2, 30)), {"fs": 5}, ValueError, "leads= is missing"),
        (np.zeros((2, 30)), {"leads": ["I", "II"]}, ValueError, "fs= is missing"),
        (np.zeros((0, 2, 30)), {"leads": ["I", "II"], "fs": 5}, ValueError, "no recordings"),
        (
            np.zeros((4, 5000, 12)),
            {"leads": TWELVE, "fs": 500},
            ValueError,
            "looks transposed: got (4, 5000, 12)",
        ),
        (np.zeros((5000, 12)), {"leads": TWELVE, "fs": 500}, ValueError, "looks transposed: got (5000, 12)"),
        (np.zeros(9), {"leads": ["I"], "fs": 500}, ValueError, "one lead is x[None, :]"),
        (
            [np.zeros((2, 30)), np.zeros((3, 30))],
            {"leads": ["I", "II"], "fs": 5},
            ValueError,
            "recording 1: signal has 3 leads",
        ),
        ([np.zeros((2, 30)), object()], {"leads": ["I", "II"], "fs": 5}, TypeError, "recording 1"),
        (np.zeros((1, 2, 30), "U2"), {"leads": ["I", "II"], "fs": 5}, TypeError, "real numbers in mV"),
        (
            kmerl.Record(np.zeros((1, 9)), 500, ["I"], name="x"),
            {"fs": 250},
            ValueError,
            "its own, 500 Hz, got 250",
        ),
        (
            kmerl.Record(np.zeros((1, 9)), 500, ["I"], name="x"),
            {"leads": ["V3"]},
            ValueError,
            "x has no lead V3",
        ),
    ],
)
def test_bad_input_for_as_records(x, options, error, part):
    with pytest.raises(error) as caught:
        as_records(x, **options)
    assert part in str(caught.value)


def test_as_record_is_one(tmp_path):
    path = write(tmp_path, steps())
    assert as_record(path, leads="II").leads == ["II"]
    with pytest.raises(ValueError, match="leads= is missing"):
        as_record(np.zeros((1, 5)))


# Real recordings


@pytest.mark.skipif(not DATA.exists(), reason="the development data is not here")
def test_development_recordings_agree_with_the_package():
    wfdb = pytest.importorskip("wfdb")
    for path in (
        sorted(DATA.glob("ptbxl/records*/00000/*.hea"))[::25] + sorted(DATA.glob("cpsc2018/*.hea"))[:1]
    ):
        record = kmerl.read_record(path)
        if "cpsc" not in str(path):
            expected, fields = wfdb.rdsamp(str(path)[:-4])
            np.testing.assert_array_equal(record.signal, expected.T.astype(np.float32))
            assert record.fs == fields["fs"]
        assert record.leads == TWELVE
