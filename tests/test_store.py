"""The store: contents, order, split, resuming after a kill at every durable step, bad input, labels,
embeddings."""

import concurrent.futures
import contextlib
import itertools
import json
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import warnings

import numpy as np
import pytest
from small import TINY, HashEncoder, make_store
from stores import LEADS, contents, create, die_at, ecg, ecgs, in_child, no_waiting_for_the_disk  # noqa: F401

import kmerl
from kmerl import store_build, store_format, workers


def write_wfdb(folder, record, name=None, damage=None):
    """A format 16 record; `damage`: "short" cuts its signal file, "sum" falsifies a checksum."""
    name = name or record.name
    steps = np.rint(record.signal.T * 1000).astype("<i2")
    data = steps.tobytes()
    (folder / f"{name}.dat").write_bytes(data[: len(data) // 2] if damage == "short" else data)
    lines = [f"{name} {len(record.leads)} {record.fs:g} {len(steps)}"]
    for lead, column in zip(record.leads, steps.T, strict=True):
        checksum = (int(column.astype(np.int64).sum()) + (damage == "sum")) & 0xFFFF
        lines.append(f"{name}.dat 16 1000/mV 16 0 {column[0]} {checksum} 0 {lead}")
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    return folder / name


@pytest.fixture
def small_batches(monkeypatch):
    """Two recordings a batch, seven a shard: many durable steps."""
    monkeypatch.setattr(store_build, "BATCH", 2)
    monkeypatch.setattr(store_format, "SHARD_SAMPLES", 7 * 2 * 150)


# ---- contents ----------------------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    records = ecgs(12)
    records[3] = ecg(3, leads=("V6", "aVR", "I"), report="", comments=["Age: 60", "two\nlines"], patient=None)
    store = create(tmp_path / "s", records)
    assert len(store) == 12 and [r.name for r in store] == [r.name for r in records]
    for got, want in zip(store, records, strict=True):
        order = sorted(range(len(want.leads)), key=lambda j: LEADS.index(want.leads[j]))
        assert got.fs == 500 and list(got.leads) == [want.leads[j] for j in order]
        assert got.signal.dtype == np.float32 and np.array_equal(got.signal, want.signal[order])
        assert got.report == want.report and got.patient == want.patient and got.labels is None
    assert store[3].comments == ["Age: 60", "two lines"]
    assert store[-1].name == "r011" and [r.name for r in store[2:6:2]] == ["r002", "r004"]
    assert store.patients[:4] == ["p0", "p0", "p1", None]
    assert store.skipped == []
    assert store.reports == ["report 0", "report 1", "report 2", "", "report 4", "report 3"]


def test_missing_clipped_and_dropped_are_counted(tmp_path):
    record = ecg(0, leads=("I", "II", "III", "V1"))
    record.signal[0, 10:13] = [np.nan, np.inf, -np.inf]
    record.signal[1, :2] = [40, -40]
    record.signal[2] = 0.5  # flat
    record.signal[3, 50] = 32.767
    store = create(tmp_path / "s", [record])
    got = store[0]
    assert list(got.leads) == ["I", "II", "V1"]
    assert np.isnan(got.signal[0, 10:13]).all() and np.isnan(got.signal).sum() == 3
    assert got.signal[1, 0] == np.float32(32.767) and got.signal[1, 1] == np.float32(-32.767)
    about = store.describe()
    assert (about["missing_samples"], about["clipped_samples"], about["recordings_with_dropped_leads"]) == (
        3,
        2,
        1,
    )
    assert about["leads"]["I"] == 1 and about["leads"]["III"] == 0 and about["recordings"] == 1
    assert "clipped samples                2" in str(about)


def test_steps_are_int16_microvolts_in_mapped_arrays(tmp_path):
    record = ecg(0, leads=("V2", "I"))
    record.signal[0, 5] = np.nan
    create(tmp_path / "s", [record])
    data = np.load(tmp_path / "s" / "signals-00000.npy", mmap_mode="r")
    assert data.dtype == np.int16 and data.shape == (300,)
    assert np.array_equal(data[:150], np.rint(record.signal[1] * 1000)) and data[150 + 5] == -32768
    index = np.load(tmp_path / "s" / "recordings.npy")
    assert index["samples"].tolist() == [150] and index["leads"].tolist() == [1 | 1 << 7]


def test_seconds(tmp_path):
    records = [ecg(0, samples=6000), ecg(1, samples=400)]
    lengths = {}
    for seconds in (10, 1.5, None):
        store = create(tmp_path / f"s{seconds}", records, seconds=seconds)
        lengths[seconds] = [r.signal.shape[1] for r in store]
        assert np.array_equal(store[0].signal, records[0].signal[:, : lengths[seconds][0]])
    assert lengths == {10: [5000, 400], 1.5: [750, 400], None: [6000, 400]}


@pytest.mark.parametrize("fs", [100, 250, 257.5, 360, 1000, 4096.1])
def test_first_seconds_are_those_of_the_whole_resampled(fs):
    x = np.random.default_rng(1).normal(size=(2, int(5 * fs))).astype(np.float32)
    whole = store_build.first_seconds(x, fs, None)
    first = store_build.first_seconds(x, fs, 1.5)
    assert first.shape == (2, 750) and abs(whole.shape[1] - 2500) <= 3
    assert np.abs(first - whole[:, :750]).max() < 1e-4  # mV; each is filtered about its own mean


def test_other_rates_become_500_hz(tmp_path):
    t = np.arange(300) / 100
    record = kmerl.Record(np.sin(2 * np.pi * 2 * t)[None], fs=100, leads=["II"], name="slow")
    got = create(tmp_path / "s", [record])[0]
    assert got.fs == 500 and got.signal.shape == (1, 1500)
    want = np.sin(2 * np.pi * 2 * np.arange(1500) / 500)
    assert np.abs(got.signal[0] - want)[100:-100].max() < 0.01


def test_reports_and_patients_given_beside_win(tmp_path):
    records = ecgs(4)
    reports = ["A", "", None, "A"]
    patients = [7, "x", None, 15709.0]
    store = create(tmp_path / "s", records, reports=reports, patients=patients)
    assert [r.report for r in store] == ["A", "", "", "A"]
    assert store.patients == ["7", "x", None, "15709"]
    assert store.reports == ["A", ""]


def test_text_of_every_kind_survives(tmp_path):
    reports = ["schmaler qrs ÄÖÜ", "心電図", "a\0b", "  two\nlines ", "x" * 100_000]
    store = create(tmp_path / "s", ecgs(5), reports=reports)
    assert [r.report for r in store] == reports


@pytest.mark.parametrize("fs", [500, 100, 360.5])
@pytest.mark.parametrize("seconds", [10, 0.5, None])
@pytest.mark.parametrize("processes", [1, 2])
def test_groups_of_paths_give_what_each_alone_gives(tmp_path, monkeypatch, fs, seconds, processes):
    """Bit for bit, with what is damaged, of another form or too large for a group among them."""
    monkeypatch.setattr(store_build, "cores", lambda: processes)
    monkeypatch.setattr(store_build, "GROUP", 5)
    monkeypatch.setattr(store_build, "ROOM", 9000)
    records = [ecg(i, fs=fs, samples=700 + 150 * i, leads=("V1", "II", "aVR")[: 1 + i % 3]) for i in range(13)]
    records[7].signal[0] = 1.5
    damage = {3: "short", 6: "sum"}
    paths = [write_wfdb(tmp_path, record, damage=damage.get(i)) for i, record in enumerate(records)]
    paths[5] = str(paths[5]) + ".hea"
    with open(paths[9].with_suffix(".hea"), "a") as file:
        file.write("# Age: 60\n#  Diagnose:  \xfcber \n")
    paths.insert(11, tmp_path / "nothing")
    warnings.simplefilter("ignore")

    class Here:
        def submit(function, task):
            future = concurrent.futures.Future()
            future.set_result(function(task))
            return future

    groups = create(tmp_path / "a", paths, seconds=seconds)
    assert len(groups) == 11 and len(groups.skipped) == 3 and groups[7].comments == ["Age: 60", "Diagnose: über"]
    create(tmp_path / "b", paths, seconds=seconds, executor=Here)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_lead_with_nothing_in_it_is_left_out(tmp_path):
    record = ecg(0, leads=("I", "II", "III", "V1"))
    record.signal[0], record.signal[2] = np.nan, 50
    store = create(tmp_path / "s", [record])
    assert store[0].leads == ["II", "V1"]
    assert store.describe()["missing_samples"] == store.describe()["clipped_samples"] == 0


def test_paths_are_read_in_order(tmp_path):
    paths = [write_wfdb(tmp_path, ecg(i)) for i in range(9)]
    paths[4] = str(paths[4]) + ".hea"
    reports = [f"text {i}" for i in range(9)]
    store = create(tmp_path / "s", paths, reports=reports)
    assert [r.name for r in store] == [f"r{i:03d}" for i in range(9)]
    assert [r.report for r in store] == reports
    assert all(np.array_equal(r.signal, ecg(i).signal) for i, r in enumerate(store))


def test_the_sample(tmp_path):
    records = kmerl.sample_records("heldout")
    store = create(tmp_path / "s", records)
    assert np.array_equal(store[5].signal, records[5].signal)
    assert store[5].report == records[5].report and store[5].comments == records[5].comments


def test_reading_from_threads_and_another_process(tmp_path):
    store = create(tmp_path / "s", ecgs(20))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda i: store[i % 20].name, range(200)))
    assert names == [f"r{i % 20:03d}" for i in range(200)]
    copy = pickle.loads(pickle.dumps(store))
    assert np.array_equal(copy[3].signal, store[3].signal) and copy.fingerprint() == store.fingerprint()


def test_index_errors(tmp_path):
    store = create(tmp_path / "s", ecgs(3))
    with pytest.raises(IndexError, match="recording 3 of a store of 3"):
        store[3]
    with pytest.raises(IndexError):
        store[-4]
    with pytest.raises(TypeError, match="index is a str"):
        store["r001"]


def test_a_million_recordings_need_few_bytes_each():
    assert store_format.INDEX_DTYPE.itemsize == 24
    head = store_format.npy_header("<i2", (0,))
    assert len(head) == len(store_format.npy_header("<i2", (10**15,))) and len(head) % 64 == 0


# ---- the split ---------------------------------------------------------------------------------------------


def sides(store):
    return [{store.patients[i] for i in store.split[name]} for name in ("train", "validation")]


def test_split_is_by_patient_and_depends_on_patients_and_seed_alone(tmp_path):
    records = [ecg(i, samples=100, patient=f"p{i % 40}") for i in range(100)]
    store = create(tmp_path / "a", records, validation=0.25)
    train, validation = sides(store)
    assert not train & validation and len(validation) == 10 and len(train) == 30
    indices = np.sort(np.concatenate(list(store.split.values())))
    assert np.array_equal(indices, np.arange(100))
    mixed = records[:]
    random.Random(0).shuffle(mixed)
    assert sides(create(tmp_path / "b", mixed, validation=0.25)) == [train, validation]
    assert sides(create(tmp_path / "c", records, validation=0.25, seed=1)) != [train, validation]


@pytest.mark.parametrize(
    "patients, validation, expected",
    [
        (["a", "a"], 0.1, 0),
        (["a", "b"], 0.1, 1),
        (["a", "b"], 0.99, 1),
        (["a", "b", "c"], 0, 0),
        ([None] * 20, 0.1, 2),
        (["", " ", None, "a"] * 5, 0.5, 8),     # a blank text is no patient
    ],
)
def test_size_of_the_split(tmp_path, patients, validation, expected):
    n = len(patients)
    store = create(tmp_path / "s", ecgs(n), patients=patients, validation=validation)
    assert len(store.split["validation"]) == expected and len(store.split["train"]) == n - expected


# ---- bad recordings ----------------------------------------------------------------------------------------


def test_bad_recordings_are_listed_and_the_rest_goes_on(tmp_path):
    good = [write_wfdb(tmp_path, ecg(i)) for i in range(3)]
    flat = ecg(5)
    flat.signal[:] = 0.25
    gone = ecg(6)
    gone.signal[:, ::2] = np.nan
    fifo = tmp_path / "pipe.hea"
    os.mkfifo(fifo)
    records = [
        good[0],
        tmp_path / "nowhere",
        f"{tmp_path}/no\0where",
        write_wfdb(tmp_path, ecg(7), "cut", damage="short"),
        good[1],
        write_wfdb(tmp_path, ecg(8), "false", damage="sum"),
        flat,
        gone,
        ecg(9, samples=99),
        fifo,
        good[2],
    ]
    with pytest.warns(
        UserWarning, match="8 of 11 recordings were skipped, see store.skipped; the first, 'nowhere'"
    ):
        store = create(tmp_path / "s", records, reports=[f"text {i}" for i in range(11)])
    assert [r.name for r in store] == ["r000", "r001", "r002"]
    assert [r.report for r in store] == ["text 0", "text 4", "text 10"]
    assert [s.name for s in store.skipped] == ["nowhere", "no\0where", "cut", "false", "r005", "r006", "r009", "pipe"]
    reasons = [s.reason for s in store.skipped]
    for reason, word in zip(
        reasons, ["No such file", "zero byte", "cut", "checksum", "flat", "missing", "too short", "pipe"], strict=True
    ):
        assert word in reason, reason
    assert store.describe()["skipped"] == 8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        create(tmp_path / "t", records, reports=[f"text {i}" for i in range(11)], verify=False)
    assert [s.name for s in kmerl.Store.open(tmp_path / "t").skipped][2] == "cut"
    assert len(kmerl.Store.open(tmp_path / "t")) == 4


def test_leads_must_be_usable_in_the_first_window(tmp_path):
    late = ecg(0, samples=6000)
    late.signal[:, :4000] = np.nan
    with pytest.warns(UserWarning, match="no lead is left: all 2 are flat or have more than 20 %"):
        store = create(tmp_path / "s", [late, ecg(1)], seconds=None)
    assert [r.name for r in store] == ["r001"]


def test_begun_with_nothing_kept_takes_other_parameters(tmp_path):
    def broken():
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "s", broken(), seed=5)
    store = create(tmp_path / "s", ecgs(3), reports=["a"] * 3)
    assert len(store) == 3 and contents(tmp_path / "s") == contents_of(
        tmp_path / "t", ecgs(3), reports=["a"] * 3
    )


def contents_of(path, *args, **more):
    create(path, *args, **more)
    return contents(path)


def test_no_recording_left(tmp_path):
    with pytest.raises(
        ValueError, match="none of the 2 recordings could be kept; the first, 'x': .*No such file"
    ):
        create(tmp_path / "s", [tmp_path / "x", tmp_path / "y"])
    with pytest.raises(ValueError, match="records is empty"):
        create(tmp_path / "s", [])
    assert len(create(tmp_path / "s", ecgs(2))) == 2


def test_wrong_input(tmp_path):
    with pytest.raises(TypeError, match="records is a str, expected an iterable"):
        create(tmp_path / "a", "folder")
    with pytest.raises(TypeError, match="records is a int"):
        create(tmp_path / "a", 3)
    assert not (tmp_path / "a").exists()
    with pytest.raises(TypeError, match=r"records\[1\] is a ndarray, expected a path or a kmerl.Record"):
        create(tmp_path / "b", [ecg(0), np.zeros((12, 5000))])
    with pytest.raises(TypeError, match="reports is one text"):
        create(tmp_path / "c", ecgs(2), reports="normal")
    with pytest.raises(
        TypeError, match=r"reports\[1\] is a float \(nan\).*a missing report is an empty text or None"
    ):
        create(tmp_path / "c", ecgs(2), reports=["a", float("nan")])
    with pytest.raises(ValueError, match=r"reports\[0\] is not valid text"):
        create(tmp_path / "d", ecgs(2), reports=["\ud800", ""])
    with pytest.raises(TypeError, match=r"patients\[1\] is a float \(1.5\)"):
        create(tmp_path / "e", ecgs(2), patients=[1, 1.5])
    with pytest.raises(ValueError, match="reports has 3 items, records has 2"):
        create(tmp_path / "f", ecgs(2), reports=["a"] * 3)
    with pytest.raises(ValueError, match="reports ended after 2 items, records did not"):
        create(tmp_path / "g", (ecg(i) for i in range(3)), reports=iter(["a", "b"]))
    with pytest.raises(ValueError, match="records ended after 3 items, reports did not"):
        create(tmp_path / "h", (ecg(i) for i in range(3)), reports=itertools.repeat("a"))


@pytest.mark.parametrize(
    "field, value, error, message",
    [
        ("seconds", 0, ValueError, "seconds is 0, expected at least 0.2 s"),
        ("seconds", float("nan"), ValueError, "seconds is nan"),
        ("seconds", 10**400, ValueError, "expected at least 0.2 s"),
        ("seconds", "10", TypeError, "seconds is '10'"),
        ("validation", 1, ValueError, "validation is 1, expected a fraction"),
        ("validation", -0.1, ValueError, "validation is -0.1"),
        ("validation", None, TypeError, "validation is None"),
        ("seed", 0.5, TypeError, "seed is 0.5, expected an integer"),
        ("verify", "no", TypeError, "verify is 'no'"),
        ("executor", 4, TypeError, "executor is a int"),
    ],
)
def test_wrong_parameters(tmp_path, field, value, error, message):
    with pytest.raises(error, match=message):
        create(tmp_path / "s", ecgs(2), **{field: value})
    assert not (tmp_path / "s").exists()


def test_places_that_cannot_hold_a_store(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="is a file, expected the folder of a store or a new name"):
        create(tmp_path / "file", ecgs(2))
    with pytest.raises(OSError):
        create(tmp_path / "file" / "s", ecgs(2))
    with pytest.raises(FileNotFoundError):
        create(tmp_path / "no" / "s", ecgs(2))
    with pytest.raises(FileExistsError, match="holds no store but other files"):
        create(tmp_path, ecgs(2))
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


# ---- interrupted and resumed -------------------------------------------------------------------------------


def test_killed_at_every_durable_step_and_resumed_is_the_same(tmp_path, small_batches):
    records = ecgs(17)
    records[4] = records[9] = ecg(4, samples=50)  # too short: skipped
    records[16] = ecg(16, samples=3000)  # larger than a shard
    warnings.simplefilter("ignore")
    create(tmp_path / "whole", records)
    whole = contents(tmp_path / "whole")
    assert set(whole) == {"store.sqlite", "recordings.npy", *(f"signals-{i:05d}.npy" for i in range(3))}
    steps = 0
    for count in itertools.count(1):
        path = tmp_path / f"killed{count}"
        status = in_child(lambda path=path, count=count: (die_at(count), create(path, iter(records))))
        if status == 0:
            break
        assert status == -signal.SIGKILL
        steps += 1
        if path.exists() and not (path / "store.sqlite").exists():
            with pytest.raises((ValueError, FileNotFoundError), match="unfinished|no store"):
                kmerl.Store.open(path)
        store = create(path, iter(records))
        assert len(store) == 15 and contents(path) == whole, count
        shutil.rmtree(path)
    assert steps > 25


def test_killed_between_database_and_shard(tmp_path, small_batches):
    """The same with death inside SQLite's transactions: at every statement."""
    records = ecgs(9)
    create(tmp_path / "whole", records)
    whole = contents(tmp_path / "whole")

    def run(path, count):
        statements = itertools.count(1)

        def trace(_):
            if next(statements) == count:
                os.kill(os.getpid(), signal.SIGKILL)

        plain = store_format.connect

        def connect(*args, **more):
            connection = plain(*args, **more)
            connection.set_trace_callback(trace)
            return connection

        store_format.connect = connect
        create(path, records)

    for count in itertools.count(1, 3):
        path = tmp_path / f"killed{count}"
        status = in_child(lambda path=path, count=count: run(path, count))
        assert status in (0, -signal.SIGKILL)
        create(path, records)
        assert contents(path) == whole, count
        shutil.rmtree(path)
        if status == 0:
            break
    assert count > 20


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs the names of open files")
def test_samples_are_synced_before_their_rows_are_committed(tmp_path, small_batches, monkeypatch):
    done = []
    plain = store_format.connect

    def connect(path, write):
        connection = plain(path, write)
        connection.set_trace_callback(lambda sql: done.append("COMMIT") if sql == "COMMIT" else None)
        return connection

    monkeypatch.setattr(store_format, "connect", connect)
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(os.readlink(f"/proc/self/fd/{handle}")))
    create(tmp_path / "s", ecgs(6))
    names = [os.path.basename(name) for name in done]
    shard = "signals-00000.npy.part"
    batches = [i for i, name in enumerate(names) if name == shard][:3]
    assert [names[i + 1] for i in batches] == ["COMMIT"] * 3
    end = names[batches[-1] + 2 :]
    order = [shard, "s", "recordings.npy.part", "s", "COMMIT", "store.sqlite.part", "s"]
    assert end == order


def test_the_database_syncs(tmp_path, monkeypatch):
    monkeypatch.undo()
    with contextlib.closing(store_format.connect(tmp_path / "x", write=True)) as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 3  # EXTRA


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path, small_batches):
    records = ecgs(20, samples=1000)
    create(tmp_path / "whole", records)

    def run():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (25_000, 25_000))  # no file may grow larger
        try:
            create(tmp_path / "s", records)
        except OSError:
            os._exit(7)

    assert in_child(run) == 7
    with pytest.raises(ValueError, match="unfinished"):
        kmerl.Store.open(tmp_path / "s")
    create(tmp_path / "s", records)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_what_was_kept_is_not_read_again(tmp_path, small_batches):
    def broken():
        yield from ecgs(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "s", broken())
    with pytest.raises(ValueError, match=r"unfinished \(10 recordings so far\).*Store.create"):
        kmerl.Store.open(tmp_path / "s")
    prepared = []
    plain = store_build.prepare
    store_build.prepare = lambda task: (prepared.append(task[0].name), plain(task))[1]
    try:
        store = create(tmp_path / "s", ecgs(13))
    finally:
        store_build.prepare = plain
    assert prepared == ["r010", "r011", "r012"] and len(store) == 13


def test_finished_store_is_opened_and_others_are_refused(tmp_path):
    path = tmp_path / "s"
    records = ecgs(6)
    create(path, records)
    before = contents(path)
    assert len(create(path, iter(records))) == 6
    with pytest.raises(
        ValueError, match="made with seconds=10.0, asked for now is seconds=5.0; use another folder"
    ):
        create(path, records, seconds=5)
    with pytest.raises(ValueError, match="made with seed=0, asked for now is seed=3"):
        create(path, records, seed=3)
    with pytest.raises(ValueError, match="made without reports=, asked for now is one with it"):
        create(path, records, reports=[r.report for r in records])
    with pytest.raises(ValueError, match="records goes on after the 6 items"):
        create(path, ecgs(7))
    with pytest.raises(ValueError, match="records ended after 5 items"):
        create(path, ecgs(5))
    with pytest.raises(ValueError, match=r"records\[2\] \('r009'\) is not what store"):
        create(path, records[:2] + [ecg(9)] + records[3:])
    with pytest.raises(ValueError, match=r"the report of records\[1\] \('r001'\) is not store"):
        create(path, [records[0], ecg(1, report="other"), *records[2:]])
    with pytest.raises(ValueError, match=r"the patient of records\[1\] \('r001'\) is 'q', in store .* 'p0'"):
        create(path, [records[0], ecg(1, patient="q"), *records[2:]])
    assert contents(path) == before


def test_unfinished_store_refuses_other_parameters(tmp_path, small_batches):
    def broken():
        yield from ecgs(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "s", broken(), validation=0.2)
    with pytest.raises(ValueError, match="made with validation=0.2, asked for now is validation=0.1"):
        create(tmp_path / "s", ecgs(8))
    assert len(create(tmp_path / "s", ecgs(8), validation=0.2)) == 8


def test_one_writer_at_a_time(tmp_path):
    inside, leave = threading.Event(), threading.Event()

    def slow():
        yield ecg(0)
        inside.set()
        assert leave.wait(20)
        yield ecg(1)

    thread = threading.Thread(target=create, args=(tmp_path / "s", slow()))
    thread.start()
    assert inside.wait(20)
    try:
        with pytest.raises(BlockingIOError, match="being written by another thread of this process"):
            create(tmp_path / "s", ecgs(2))

        def other():
            try:
                create(tmp_path / "s", ecgs(2))
            except BlockingIOError as error:
                os._exit(7 if f"another process (process id {os.getppid()})" in str(error) else 8)

        assert in_child(other) == 7
    finally:
        leave.set()
        thread.join()
    assert len(kmerl.Store.open(tmp_path / "s")) == 2


# ---- damage ------------------------------------------------------------------------------------------------


def cut(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


def test_damaged_stores_say_what_is_wrong(tmp_path):
    good = tmp_path / "good"
    create(good, ecgs(5))

    def damaged(change):
        bad = tmp_path / "bad"
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good, bad)
        change(bad)
        return bad

    cases = [
        (lambda p: cut(p / "signals-00000.npy", 1000), "signals-00000.npy has 1,000 bytes, expected 3,128"),
        (lambda p: (p / "signals-00000.npy").unlink(), "signals-00000.npy is missing"),
        (lambda p: cut(p / "recordings.npy", 0), "recordings.npy has 0 bytes"),
        (lambda p: (p / "recordings.npy").unlink(), "recordings.npy is missing"),
        (lambda p: (p / "store.sqlite").write_bytes(b"no database" * 1000), "store.sqlite is damaged"),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            kmerl.Store.open(damaged(change))
    with pytest.raises((ValueError, OSError), match="store.sqlite"):
        kmerl.Store.open(damaged(lambda p: (p / "store.sqlite").write_bytes(b"")))
    with pytest.raises(FileNotFoundError, match="no store in"):
        kmerl.Store.open(tmp_path / "nowhere")
    for field, value in (
        ("start", 10**12),
        ("start", -1),
        ("shard", 1),
        ("report", 99),
        ("samples", -5),
        ("leads", 0),
    ):

        def change(p, field=field, value=value):
            index = np.load(p / "recordings.npy", mmap_mode="r+")
            index[field][2] = value
            index.flush()

        with pytest.raises(ValueError, match="recordings.npy puts recording 2 where there is none"):
            kmerl.Store.open(damaged(change))

    def newer(p):
        with sqlite3.connect(p / "store.sqlite") as db:
            db.execute("UPDATE meta SET value = '2' WHERE key = 'format'")

    with pytest.raises(ValueError, match="has format 2, this kmerl reads 1"):
        kmerl.Store.open(damaged(newer))


def flip(path, at, bit=1):
    """Changes one bit of a file; of its end where `at` is negative."""
    with open(path, "r+b") as file:
        file.seek(at, 2 if at < 0 else 0)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ bit]))


def test_a_flipped_bit_of_the_index_is_told(tmp_path):
    create(tmp_path / "s", ecgs(5))
    flip(tmp_path / "s" / "recordings.npy", -24 * 2 - 12)     # recording 2 gets the report of another
    with pytest.raises(ValueError, match="recordings.npy is not what was written"):
        kmerl.Store.open(tmp_path / "s")


@pytest.mark.parametrize("pattern, key", [("labels-*", "labels"), ("reports-*", "embeddings"), ("texts-*", "embeddings")])
def test_a_flipped_bit_of_labels_and_embeddings_is_told_not_answered_with(tmp_path, pattern, key):
    make_store(tmp_path / "s", 4)
    store = kmerl.Store.open(tmp_path / "s")
    path, = (tmp_path / "s").glob(pattern)
    flip(path, -5)
    for use in (store.corpus, lambda: store.verify(progress=False), lambda: getattr(store, key),
                lambda: kmerl.KMERL(**TINY).fit(store, progress=False)):
        with pytest.raises(ValueError, match=f"its {key} are not what was written"):
            use()
    flip(path, -5)
    store.corpus()


def change_database(path, *statement):
    with contextlib.closing(sqlite3.connect(path / "store.sqlite")) as db:
        db.execute(*statement)
        db.commit()


def test_verify_finds_changed_reports_and_rows(tmp_path):
    create(tmp_path / "s", ecgs(5))
    change_database(tmp_path / "s", "UPDATE reports SET text = 'another' WHERE id = 3")
    assert kmerl.Store.open(tmp_path / "s").verify(progress=False) == [3]
    change_database(tmp_path / "s", "UPDATE recordings SET patient = 'p9' WHERE id = 1")
    with pytest.raises(ValueError, match="store.sqlite is not what was written about the recordings"):
        kmerl.Store.open(tmp_path / "s").verify(progress=False)


@pytest.mark.parametrize("key, field, name", [
    ("labels", "file", "../labels-0123456789ab.npy"), ("labels", "file", "/etc/passwd"), ("labels", "file", "labels.npy"),
    ("embeddings", "reports", "../reports-0123456789ab.npy"), ("embeddings", "texts", ["texts-0123456789ab.npy"]),
])
def test_a_store_names_no_file_elsewhere(tmp_path, key, field, name):
    make_store(tmp_path / "s", 4)
    with contextlib.closing(sqlite3.connect(tmp_path / "s" / "store.sqlite")) as db:
        about = json.loads(db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])
        db.execute("UPDATE meta SET value = ? WHERE key = ?", (json.dumps({**about, field: name}), key))
        db.commit()
    with pytest.raises(ValueError, match=f"{key}, {field} is .*, which no store writes"):
        kmerl.Store.open(tmp_path / "s")


@pytest.mark.parametrize("statement", [
    "CREATE TRIGGER t AFTER DELETE ON entities BEGIN DELETE FROM recordings; END", "CREATE VIEW v AS SELECT 1",
    "ALTER TABLE texts ADD COLUMN more TEXT", "DROP TABLE skipped",
])
def test_a_store_has_no_other_tables(tmp_path, statement):
    create(tmp_path / "s", ecgs(3))
    change_database(tmp_path / "s", statement)
    with pytest.raises(ValueError, match="is not what a store has"):
        kmerl.Store.open(tmp_path / "s")


@pytest.mark.parametrize("counts", [{"recordings": 2**62}, {"recordings": -1}, {"reports": "5"}, {"reports": 2.0}, None])
def test_counts_that_no_store_has(tmp_path, counts):
    create(tmp_path / "s", ecgs(3))
    change_database(tmp_path / "s", "UPDATE meta SET value = ? WHERE key = 'counts'",
                    (json.dumps(counts and {"recordings": 3, "reports": 3, "skipped": 0, "patients": 2, **counts}),))
    with pytest.raises(ValueError, match="counts.* which no store writes"):
        kmerl.Store.open(tmp_path / "s")


def test_nothing_is_written_through_a_symbolic_link(tmp_path, small_batches):
    """As somebody's archive may hold them: a file outside stays what it is."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    store = make_store(tmp_path / "s", 4)
    for name in ("labels.npy.part", "store.sqlite.part", "embedding.json.part"):
        (tmp_path / "s" / name).symlink_to(outside)
    store.label(progress=False).embed(HashEncoder(), progress=False)
    (tmp_path / "s" / "lock").unlink()
    (tmp_path / "s" / "lock").symlink_to(outside)
    with pytest.raises(OSError, match="lock is a symbolic link"):
        store.label(progress=False)
    for name in ("building.sqlite", "signals-00000.npy.part", "recordings.npy.part"):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / "building.sqlite").touch()
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(outside)
        with pytest.raises(ValueError, match="is a symbolic link"):
            create(folder, ecgs(3))
    assert outside.read_bytes() == b"precious"


def test_verify_finds_a_changed_sample(tmp_path):
    store = create(tmp_path / "s", ecgs(5))
    assert store.verify(progress=False) == []
    with open(tmp_path / "s" / "signals-00000.npy", "r+b") as file:
        file.seek(128 + 2 * 300 * 3 + 11)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 4]))
    assert store.verify(progress=False) == [3]


def test_kept_samples_that_are_gone_are_noticed(tmp_path, small_batches):
    def broken():
        yield from ecgs(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create(tmp_path / "s", broken())
    cut(tmp_path / "s" / "signals-00000.npy.part", 500)
    with pytest.raises(ValueError, match="500 bytes, 2,528 were kept"):
        create(tmp_path / "s", ecgs(4))


def test_fingerprint(tmp_path):
    first = create(tmp_path / "a", ecgs(5)).fingerprint()
    assert create(tmp_path / "b", ecgs(5)).fingerprint() == first
    others = [
        ecgs(4),
        [*ecgs(4), ecg(4, report="x")],
        [*ecgs(4), ecg(4, patient="x")],
        [*ecgs(4), ecg(4, leads=("I", "V1"))],
    ]
    prints = [create(tmp_path / f"o{i}", records).fingerprint() for i, records in enumerate(others)]
    prints.append(create(tmp_path / "seed", ecgs(5), seed=1, validation=0.4).fingerprint())
    assert len({first, *prints}) == 6


# ---- executors ---------------------------------------------------------------------------------------------


def test_order_does_not_depend_on_the_executor(tmp_path):
    class Late(concurrent.futures.Executor):
        """Runs tasks only when a result is asked for, the last first, and counts how many wait."""

        def __init__(self):
            self.waiting, self.most = [], 0

        def submit(self, function, task):
            future = concurrent.futures.Future()
            self.waiting.append((future, function, task))
            self.most = max(self.most, len(self.waiting))
            future.result = lambda timeout=None: (self.run(), concurrent.futures.Future.result(future))[1]
            return future

        def run(self):
            while self.waiting:
                future, function, task = self.waiting.pop()
                future.set_result(function(task))

    late = Late()
    create(tmp_path / "a", ecgs(200, samples=100))
    create(tmp_path / "b", (ecg(i, samples=100) for i in range(200)), executor=late)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert late.most <= store_build.IN_FLIGHT
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        create(tmp_path / "c", ecgs(200, samples=100), executor=pool)
    assert contents(tmp_path / "a") == contents(tmp_path / "c")


def test_process_pool_of_the_users(tmp_path):
    import multiprocessing

    paths = [write_wfdb(tmp_path, ecg(i)) for i in range(4)]
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        store = create(tmp_path / "s", paths, executor=pool)
    assert [r.name for r in store] == [f"r{i:03d}" for i in range(4)]


def test_a_generator_is_not_read_ahead(tmp_path, small_batches):
    alive = most = 0

    class Tracked(kmerl.Record):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def records():
        nonlocal alive, most
        for i in range(50):
            alive += 1
            most = max(most, alive)
            yield Tracked(ecg(i).signal, 500, ["II", "V1"], name=f"r{i}")

    create(tmp_path / "s", records())
    assert most <= 5


def test_a_script_without_main_guard(tmp_path):
    """Worker processes must not import the caller's script again."""
    for i in range(3):
        write_wfdb(tmp_path, ecg(i))
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import kmerl.store_build
        kmerl.store_build.cores = lambda: 2
        records = [{str(tmp_path)!r} + f"/r{{i:03d}}" for i in range(3)]
        store = kmerl.Store.create({str(tmp_path / "s")!r}, records, progress=False)
        print("made", len(store))
        """)
    )
    root = os.path.dirname(os.path.dirname(kmerl.__file__))
    run = subprocess.run(
        [sys.executable, script], env=dict(os.environ, PYTHONPATH=root), capture_output=True, text=True
    )
    assert run.stdout == "made 3\n" and run.returncode == 0, run.stderr


def test_workers():
    pool = workers.Workers(2)
    try:
        assert [f.result() for f in [pool.submit(abs, -i) for i in range(20)]] == list(range(20))
        with pytest.raises(ZeroDivisionError):
            pool.submit(eval, "1 / 0").result()
        with pytest.raises(workers.WorkerDied, match="died, exit status 3"):
            pool.submit(os._exit, 3).result()
        assert pool.submit(os.getpid, None) is not None
        assert pool.submit(str, "after").result() == "after"
        assert pool.submit(print, "to standard error").result() is None
    finally:
        pool.shutdown()


def test_workers_end_with_their_parent():
    """capture_output waits until nobody holds the pipe of standard error any more: until the workers
    ended."""
    script = (
        "import os; from kmerl.workers import Workers; pool = Workers(2); pool.submit(abs, -1).result()\n"
        "pool.submit(abs, -1); os.kill(os.getpid(), 9)"
    )
    root = os.path.dirname(os.path.dirname(kmerl.__file__))
    run = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert run.returncode == -signal.SIGKILL and run.stderr == ""


def test_a_worker_that_dies_costs_its_recording_only(tmp_path, monkeypatch):
    paths = [write_wfdb(tmp_path, ecg(i)) for i in range(3)]
    for path in paths:  # in two files: what the worker processes are for
        both = np.frombuffer(path.with_suffix(".dat").read_bytes(), "<i2").reshape(-1, 2)
        for column, name in enumerate((f"{path.name}.dat", f"{path.name}_v.dat")):
            (tmp_path / name).write_bytes(both[:, column].tobytes())
        first, second, third = path.with_suffix(".hea").read_text().splitlines()
        third = third.replace(".dat", "_v.dat")
        path.with_suffix(".hea").write_text(f"{first}\n{second}\n{third}\n")
    (tmp_path / "sitecustomize.py").write_text("")
    deadly = tmp_path / "deadly.py"
    deadly.write_text(
        "import os\nfrom kmerl.store_build import prepare as plain\n"
        "def prepare(task):\n    if str(task[0]).endswith('r001'): os._exit(9)\n    return plain(task)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import deadly as module

    monkeypatch.setattr(store_build, "prepare", module.prepare)
    monkeypatch.setattr(store_build, "cores", lambda: 2)
    with pytest.warns(UserWarning, match="1 of 3 recordings were skipped"):
        store = create(tmp_path / "s", paths)
    assert [r.name for r in store] == ["r000", "r002"]
    assert store.skipped == [("r001", "the process that read it died, exit status 9")]
