"""The sample recordings that come with the package."""

import csv
import pathlib

import numpy as np
import pytest

import kmerl
from kmerl import sample

PTBXL = pathlib.Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "ptbxl"


def test_parts_are_disjoint_by_patient_and_make_the_whole():
    train, held_out, both = (kmerl.sample_records(part) for part in ("train", "heldout", "all"))
    assert 100 <= len(both) <= 120
    assert len(train) + len(held_out) == len(both)
    assert {r.name for r in train} | {r.name for r in held_out} == {r.name for r in both}
    assert not {r.patient for r in train} & {r.patient for r in held_out}
    assert 0.2 < len(held_out) / len(both) < 0.35


def test_recordings_are_whole():
    for record in kmerl.sample_records():
        assert record.signal.shape == (12, 5000) and record.signal.dtype == np.float32
        assert record.fs == 500 and list(record.leads) == list(kmerl.leads.LEADS)
        assert np.isfinite(record.signal).all() and 0.3 < np.abs(record.signal).max() < 20
        assert record.report and record.patient.isdigit()
        assert any(line.startswith("SCP: ") for line in record.comments)
        assert any(line in ("Sex: female", "Sex: male") for line in record.comments)


def test_findings_are_common_enough_on_both_sides():
    for part, least in (("train", 4), ("heldout", 1)):
        comments = [next(c for c in r.comments if c.startswith("SCP: ")) for r in kmerl.sample_records(part)]
        for code in ("NORM", "AFIB", "IMI", "ASMI", "CLBBB", "CRBBB", "LVH", "PVC", "1AVB", "STD_", "LAFB"):
            assert sum(f" {code} " in c for c in comments) >= least, (part, code)


def test_part_is_checked():
    with pytest.raises(ValueError, match="part is 'test', expected one of 'all', 'train', 'heldout'"):
        kmerl.sample_records("test")


def test_packed_form_loses_nothing():
    rng = np.random.default_rng(0)
    signal = np.cumsum(rng.integers(-40, 41, (12, 700)), axis=1).astype(np.int16)
    signal[:, 0] = [9000, -9000, 5, 0, -1, 1, 2, -2, 3, -3, 4, -4]
    packed = sample.encode(signal)
    assert packed.dtype == np.uint8 and packed.shape == (2, 12 * 700)
    assert np.array_equal(sample.decode(packed), signal)


def test_packed_form_refuses_what_it_cannot_hold():
    signal = np.zeros((12, 10), np.int16)
    signal[6, ::2] = 32767
    signal[6, 1::2] = -32768
    with pytest.raises(OverflowError, match="jump"):
        sample.encode(signal)


@pytest.mark.parametrize("name", ["00001_hr", "00330_hr", "00286_hr"])
def test_wfdb_records_are_the_packed_ones(name):
    record = kmerl.read_record(kmerl.sample_path(name))
    packed = next(r for r in kmerl.sample_records() if r.name == name)
    assert record.fs == 500 and list(record.leads) == list(packed.leads)
    assert np.array_equal(record.signal, packed.signal)


def test_sample_path_lists_what_there_is():
    with pytest.raises(KeyError, match="no sample record 'A0001', there are 00001_hr, 00286_hr, 00330_hr"):
        kmerl.sample_path("A0001")


def test_attribution_comes_with_the_files():
    text = (sample.FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for part in ("Wagner", "10.1038/s41597-020-0495-6", "10.13026/kfzx-aw45", "CC BY 4.0", "changed"):
        assert part in text


@pytest.mark.skipif(not PTBXL.exists(), reason="needs ../shared/data/ptbxl")
def test_sample_is_what_ptbxl_has():
    with open(PTBXL / "ptbxl_database.csv", newline="", encoding="utf-8") as file:
        table = {pathlib.PurePosixPath(row["filename_hr"]).name: row for row in csv.DictReader(file)}
    for record in kmerl.sample_records():
        row = table[record.name]
        raw = np.fromfile(PTBXL / (row["filename_hr"] + ".dat"), "<i2").reshape(-1, 12).T
        assert np.array_equal(np.rint(record.signal * 1000).astype(int), raw)
        assert record.report == row["report"] and record.patient == str(int(float(row["patient_id"])))
