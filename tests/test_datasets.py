"""Data sets read from folders: small ones written here, and the development data where they are."""

import csv
import hashlib
import pathlib
import re
import warnings

import numpy as np
import pytest

import kmerl
from kmerl import datasets, merl, mimic

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
LEADS = ("I", "II", "III", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")


def write_record(path, leads=LEADS, seconds=1.0, fs=500, comments=(), seed=0):
    """A WFDB record in format 16, 1000 steps a mV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-900, 900, (round(seconds * fs), len(leads))).astype("<i2")
    samples.tofile(f"{path}.dat")
    lines = [f"{path.name} {len(leads)} {fs} {len(samples)}"]
    for k, lead in enumerate(leads):
        checksum = int(samples[:, k].astype(np.int64).sum()) & 0xFFFF
        checksum -= 0x10000 if checksum >= 0x8000 else 0
        lines.append(f"{path.name}.dat 16 1000/mV 16 0 {samples[0, k]} {checksum} 0 {lead}")
    path.with_name(path.name + ".hea").write_text("\n".join([*lines, *(f"#{c}" for c in comments), ""]))


def write_folder(path, rows, header="record,patient,split,atrial fibrillation,normal ecg", records=None):
    path.mkdir(exist_ok=True)
    (path / "labels.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    for i, name in enumerate(records if records is not None else [row.split(",")[0] for row in rows]):
        write_record(path / name, seed=i)
    return path


ROWS = ["a/r1,p1,train,0,1", "a/r2,p1,train,1,0", "r3,p2,validation,0,1", "r4,p3,test,1,0", "r5,p4,test,1,1"]


# ---- Any folder ----


def test_folder(tmp_path):
    dataset = datasets.folder(write_folder(tmp_path / "mine", ROWS))
    assert len(dataset) == 5 and dataset.listed == 5 and dataset.notes == []
    assert dataset.name == "mine"
    assert dataset.classes == dataset.codes == ["atrial fibrillation", "normal ecg"]
    assert dataset.labels.dtype == np.uint8
    assert dataset.labels.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0], [1, 1]]
    assert dataset.patients == ["p1", "p1", "p2", "p3", "p4"]
    assert {part: list(v) for part, v in dataset.split.items()} == {
        "train": [0, 1],
        "validation": [2],
        "test": [3, 4],
    }
    record = dataset[1]
    assert record.name == "r2" and record.signal.shape == (12, 500) and record.fs == 500
    assert [r.name for r in dataset] == ["r1", "r2", "r3", "r4", "r5"]
    assert dataset[-1].name == "r5" and dataset[np.int64(0)].name == "r1"
    assert "5 recordings of 4 patients, 2 classes; 2 train, 1 validation, 2 test" in repr(dataset)


def test_subset(tmp_path):
    dataset = datasets.folder(write_folder(tmp_path, ROWS))
    test = dataset.subset("test")
    assert [r.name for r in test] == ["r4", "r5"]
    assert test.labels.tolist() == [[1, 0], [1, 1]] and test.patients == ["p3", "p4"]
    assert {part: list(v) for part, v in test.split.items()} == {
        "train": [],
        "validation": [],
        "test": [0, 1],
    }
    assert test.classes == dataset.classes and len(test.subset("train")) == 0
    with pytest.raises(ValueError, match="part is 'dev', expected one of train, validation, test"):
        dataset.subset("dev")


def test_recordings_are_read_when_asked_for(tmp_path):
    dataset = datasets.folder(write_folder(tmp_path, ROWS))
    (tmp_path / "r3.dat").unlink()
    assert len(dataset) == 5
    with pytest.raises(FileNotFoundError):
        dataset[2]
    assert dataset[3].name == "r4"


def test_bad_index(tmp_path):
    dataset = datasets.folder(write_folder(tmp_path, ROWS))
    with pytest.raises(IndexError, match="index is 5, the data set has 5 recordings"):
        dataset[5]
    with pytest.raises(TypeError, match="expected a whole number"):
        dataset["r1"]
    with pytest.raises(TypeError, match="expected a whole number"):
        dataset[0:2]


def test_csv_as_people_write_it(tmp_path):
    """Byte order mark, CRLF, endings, blank lines, spaces, quoted names, other capitals and column order."""
    write_folder(tmp_path, [], records=["r1", "r2"])
    text = '"st depression, any", "split",record,patient\r\n1, Test ,r1.hea,p1\r\n\r\n0.0,TRAIN,r2.dat,p2'
    (tmp_path / "mine.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    dataset = datasets.folder(tmp_path, labels="mine.csv")
    assert dataset.classes == ["st depression, any"] and dataset.labels.tolist() == [[1], [0]]
    assert [r.name for r in dataset] == ["r1", "r2"] and list(dataset.split["test"]) == [0]
    assert datasets.folder(str(tmp_path), labels=tmp_path / "mine.csv").labels.tolist() == [[1], [0]]


def test_without_patients_and_split(tmp_path):
    dataset = datasets.folder(write_folder(tmp_path, ["r1,0", "r2,1"], header="record,lbbb"))
    assert dataset.patients == ["r1", "r2"] and list(dataset.split["test"]) == [0, 1]
    assert (
        len(dataset.notes) == 2
        and "no patients given" in dataset.notes[0]
        and "no split given" in dataset.notes[1]
    )


def test_recordings_that_are_not_there_are_left_out_and_listed(tmp_path):
    write_folder(tmp_path, ROWS, records=["a/r1", "r3", "r5"])
    with pytest.warns(UserWarning, match="3 of the 5 recordings of labels.csv are here; left out: a/r2, r4"):
        dataset = datasets.folder(tmp_path)
    assert [r.name for r in dataset] == ["r1", "r3", "r5"] and dataset.listed == 5
    assert dataset.labels.tolist() == [[0, 1], [0, 1], [1, 1]] and list(dataset.split["test"]) == [2]


def test_patients_in_two_parts_are_told(tmp_path):
    write_folder(tmp_path, [*ROWS, "r6,p2,test,0,0"])
    with pytest.warns(UserWarning, match="1 patients are in more than one part of the split.*: p2"):
        dataset = datasets.folder(tmp_path)
    assert len(dataset) == 6  # told, not left out


@pytest.mark.parametrize(
    "rows, header, message",
    [
        (
            ["r1,p1,test,2,0"],
            None,
            "labels.csv line 2, column 'atrial fibrillation': got '2', expected 0 or 1",
        ),
        (["r1,p1,test,0,"], None, "line 2, column 'normal ecg': got '', expected 0 or 1"),
        (
            ["r1,p1,test,63,1"],
            "record,patient,split,age,af",
            "column 'age': got '63'.*every column but record",
        ),
        (["r1,p1,test,1,0", "r1,p1,test,1,0"], None, "line 3, column \"record\": 'r1' is in line 2 too"),
        ([",p1,test,1,0"], None, 'line 2, column "record": empty'),
        (["r1,,test,1,0"], None, 'line 2, column "patient": empty'),
        (["r1,p1,dev,1,0"], None, "column \"split\": got 'dev', expected train, validation, test"),
        (["r1,p1,test,1"], None, "labels.csv line 2 has 4 columns, the header has 5"),
        ([], None, "labels.csv has 1 lines, expected a header and at least one line more"),
        (["r1,p1,test"], "record,patient,split", "labels.csv has no class"),
        (["r1,1"], "name,af", 'labels.csv has no column "record", it has name, af'),
        (["r1,1,1"], "record,af,af", "labels.csv has the column 'af' twice"),
        (["r1,1,1"], "record,,af", "labels.csv has no name for column 2"),
        (["r1;p1;test;1"], "record;patient;split;af", "looks separated by semicolons"),
        (['r1,"p1,test,1,0'], None, "labels.csv is no CSV in UTF-8"),
    ],
)
def test_malformed_csv(tmp_path, rows, header, message):
    write_folder(tmp_path, rows, records=["r1"], **({"header": header} if header else {}))
    with pytest.raises(ValueError, match=message):
        datasets.folder(tmp_path)


def test_csv_in_another_encoding(tmp_path):
    (tmp_path / "labels.csv").write_bytes("record,münchen\nr1,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="labels.csv is no CSV in UTF-8"):
        datasets.folder(tmp_path)


@pytest.mark.parametrize("name", ["../r1", "/tmp/r1", "a/../../r1", "..\\r1", "C:r1"])
def test_a_data_base_names_no_file_elsewhere(tmp_path, name):
    write_mimic(tmp_path / "m")
    table = tmp_path / "m" / "record_list.csv"
    table.write_text(table.read_text().replace("files/p1000/p0/s101/101", name))
    with pytest.raises(ValueError, match="record_list.csv: names the file"):
        datasets.mimic_iv_ecg(tmp_path / "m")


def test_errors_of_tables_hold_no_report(tmp_path):
    canary = "canaryword sinus rhythm"
    (tmp_path / "labels.csv").write_text(f"record,report\nr1,{canary}\n")
    with pytest.raises(ValueError, match="column 'report': got a text of 23 characters") as error:
        datasets.folder(tmp_path)
    assert "canary" not in str(error.value)
    write_mimic(tmp_path / "m")
    table = tmp_path / "m" / "machine_measurements.csv"
    table.write_text(table.read_text().replace("1,103,7,", f"1,{canary},7,"))
    with pytest.raises(ValueError, match="study_id is a text of 23 characters") as error:
        datasets.mimic_iv_ecg(tmp_path / "m")
    assert "canary" not in str(error.value)


def test_missing_folders_and_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="which is no folder; expected a folder of WFDB recordings with a CSV"
    ):
        datasets.folder(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="has no file 'labels.csv'"):
        datasets.folder(tmp_path)
    write_folder(tmp_path, ROWS, records=[])
    with pytest.raises(
        FileNotFoundError, match="none of the 5 recordings of labels.csv is there: no file .*a/r1.hea"
    ):
        datasets.folder(tmp_path)


# ---- PTB-XL ----

STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NORM,normal ECG,1.0,,,NORM,NORM
NDT,non-diagnostic T abnormalities,1.0,1.0,,STTC,STTC
NST_,non-specific ST changes,1.0,1.0,,STTC,NST_
IMI,inferior myocardial infarction,1.0,,,MI,IMI
1AVB,first degree AV block,1.0,,,CD,_AVB
LVH,left ventricular hypertrophy,1.0,,,HYP,LVH
SR,sinus rhythm,,,1.0,,
AFIB,atrial fibrillation,,,1.0,,
"""


def write_ptbxl(path, rows, statements=STATEMENTS, records=True):
    path.mkdir(exist_ok=True)
    (path / "scp_statements.csv").write_text(statements)
    with open(path / "ptbxl_database.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ecg_id", "patient_id", "scp_codes", "strat_fold", "filename_lr", "filename_hr"])
        for i, patient, codes, fold in rows:
            names = [f"records{rate}/00000/{i:05d}_{kind}" for rate, kind in ((100, "lr"), (500, "hr"))]
            writer.writerow([i, patient, codes, fold, *names])
            if records:
                write_record(path / names[0], fs=100)
                write_record(path / names[1], fs=500)
    return path


PTBXL_ROWS = [
    (1, "15709.0", "{'NORM': 100.0, 'SR': 0.0}", 3),
    (2, "13243.0", "{'IMI': 0.0, '1AVB': 100.0}", 9),
    (3, "20372.0", "{'AFIB': 0.0}", 10),
    (4, "17014.0", "{'NST_': 50.0, 'LVH': 50.0, 'AFIB': 0.0}", 10),
    (137, "8727.0", "{'LVH': 100.0}", 8),
]


@pytest.fixture
def small_ptbxl(tmp_path, monkeypatch):
    """A PTB-XL with eight statements, so with fewer classes."""
    tasks = {
        "ptbxl-super": "NORM MI STTC CD HYP",
        "ptbxl-sub": "NORM IMI STTC NST AVB LVH",
        "ptbxl-form": "NDT NST",
        "ptbxl-rhythm": "SR AFIB",
    }
    monkeypatch.setattr(datasets, "class_names", lambda task: {c: c.lower() for c in tasks[task].split()})
    return write_ptbxl(tmp_path, PTBXL_ROWS)


def test_ptbxl(small_ptbxl):
    dataset = datasets.ptbxl(small_ptbxl)
    assert dataset.name == "ptbxl-super" and dataset.codes == ["NORM", "MI", "STTC", "CD", "HYP"]
    assert dataset.labels.tolist() == [
        [1, 0, 0, 0, 0],
        [0, 1, 0, 1, 0],
        [0, 0, 1, 0, 1],
    ]  # 3 has none, 137 is withdrawn
    assert dataset.classes == ["norm", "mi", "sttc", "cd", "hyp"]
    assert dataset.patients == ["15709", "13243", "17014"]
    assert {part: list(v) for part, v in dataset.split.items()} == {
        "train": [0],
        "validation": [1],
        "test": [2],
    }
    assert dataset[0].fs == 500 and dataset[0].name == "00001_hr" and dataset[0].leads[3] == "aVR"
    assert dataset.notes[0] == "partial copy: 3 of PTB-XL's 21,388 recordings of this task"
    assert "1 duplicates" in dataset.notes[1]


@pytest.mark.parametrize(
    "task, labels",
    [
        ("sub", [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 1]]),
        ("form", [[0, 1]]),
        ("rhythm", [[1, 0], [0, 1], [0, 1]]),
    ],
)
def test_ptbxl_tasks(small_ptbxl, task, labels):
    assert datasets.ptbxl(small_ptbxl, task).labels.tolist() == labels


def test_ptbxl_at_100_hz(small_ptbxl):
    dataset = datasets.ptbxl(small_ptbxl, fs=100)
    assert dataset[0].fs == 100 and dataset[0].name == "00001_lr"


def test_ptbxl_refuses_what_it_is_not(tmp_path, small_ptbxl):
    with pytest.raises(ValueError, match="task is 'all', expected one of super, sub, form, rhythm"):
        datasets.ptbxl(small_ptbxl, task="all")
    with pytest.raises(ValueError, match="fs is 250"):
        datasets.ptbxl(small_ptbxl, fs=250)
    with pytest.raises(
        FileNotFoundError, match=r"has no ptbxl_database.csv; expected PTB-XL 1.0.3 .*physionet.org"
    ):
        datasets.ptbxl(tmp_path / "elsewhere")
    write_ptbxl(tmp_path / "empty", PTBXL_ROWS, records=False)
    with pytest.raises(
        FileNotFoundError, match="has none of the recordings of its ptbxl_database.csv; expected PTB-XL"
    ):
        datasets.ptbxl(tmp_path / "empty")


@pytest.mark.parametrize("codes", ["NORM", "['NORM']", "{'NORM': ", "__import__('os')", "", "(" * 500])
def test_ptbxl_malformed_statements(small_ptbxl, codes):
    write_ptbxl(small_ptbxl, [(1, "1.0", codes, 1)])
    with pytest.raises(ValueError, match=r'ptbxl_database.csv line 2, column "scp_codes": got '):
        datasets.ptbxl(small_ptbxl)


def test_ptbxl_malformed_tables(small_ptbxl):
    write_ptbxl(small_ptbxl, [(1, "anna", "{'NORM': 1}", 1)])
    with pytest.raises(ValueError, match="column 'patient_id': got 'anna', expected a whole number"):
        datasets.ptbxl(small_ptbxl)
    (small_ptbxl / "ptbxl_database.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="ptbxl_database.csv has no column 'ecg_id'; it has a, b"):
        datasets.ptbxl(small_ptbxl)
    write_ptbxl(small_ptbxl, PTBXL_ROWS, statements=STATEMENTS.replace("MI,IMI", "OTHER,IMI"))
    with pytest.raises(ValueError, match="'OTHER' is no class of PTB-XL's task 'super'"):
        datasets.ptbxl(small_ptbxl)
    write_ptbxl(
        small_ptbxl,
        PTBXL_ROWS,
        statements=STATEMENTS.replace("LVH,left ventricular hypertrophy,1.0,,,HYP,LVH\n", ""),
    )
    with pytest.raises(ValueError, match="scp_statements.csv lacks the classes HYP"):
        datasets.ptbxl(small_ptbxl)


# ---- MERL's splits and training subsets ----


def digest(ids):
    return hashlib.sha256(",".join(str(int(i)) for i in ids).encode()).hexdigest()[:16]


# Of the id columns of MERL's published tables: (recordings, digest) of train, validation, test.
MERL_SPLITS = {
    "cpsc2018": ((4950, "0f611df60fe747ab"), (551, "3a5ac074f8b99d2b"), (1376, "c15f96913869510f")),
    "csn": ((16546, "edc67db83160e470"), (1860, "777f43e083eed3f8"), (4620, "624a8ad26f693fbc")),
}
MERL_PTBXL = {
    "super": (17084, "db4ea4be09453a7c"),
    "sub": (17084, "db4ea4be09453a7c"),
    "form": (7197, "43d052e7cd78a1aa"),
    "rhythm": (16832, "d11a3204f48dda0d"),
}
# Of what scikit-learn 1.7's train_test_split(table, train_size=ratio / 100, random_state=42) takes of them.
MERL_SUBSETS = {
    "super": ((170, "049d9bc89b7812ff"), (1708, "0c5d542aeee59f33")),
    "form": ((71, "7b3447f826483fa5"), (719, "6ac0c3170fc42387")),
    "rhythm": ((168, "f53e342c162c0a44"), (1683, "281358fbe490dca4")),
    "cpsc2018": ((49, "c1dbe2a1d4bca29b"), (495, "e5bea1da883c7e5b")),
    "csn": ((165, "4a06667e716d6dab"), (1654, "960a88fc629c8215")),
}


@pytest.mark.parametrize("name", MERL_SPLITS)
def test_splits_are_merls(name):
    split = getattr(merl, name)()
    assert list(split) == ["train", "validation", "test"]
    assert [(len(ids), digest(ids)) for ids in split.values()] == list(MERL_SPLITS[name])
    assert len(set(np.concatenate(list(split.values())))) == sum(n for n, _ in MERL_SPLITS[name])


@pytest.mark.parametrize("task", MERL_PTBXL)
def test_training_part_of_ptbxl_is_merls(task):
    assert (len(merl.ptbxl(task)), digest(merl.ptbxl(task))) == MERL_PTBXL[task]


@pytest.mark.parametrize("name", MERL_SUBSETS)
def test_training_subsets_are_merls(name):
    ids = getattr(merl, name)()["train"] if name in MERL_SPLITS else merl.ptbxl(name)
    taken = [ids[merl.subset(len(ids), share)] for share in (0.01, 0.1)]
    assert [(len(one), digest(one)) for one in taken] == list(MERL_SUBSETS[name])


MERL_TABLES = SHARED / "merl" / "finetune" / "data_split"


@pytest.mark.skipif(not MERL_TABLES.is_dir(), reason="needs MERL's tables in ../shared/data/merl")
@pytest.mark.parametrize("name", ["cpsc2018", "csn", "super", "sub", "form", "rhythm"])
def test_digests_are_of_merls_tables(name):
    folder, column = {"cpsc2018": ("icbeb", "filename"), "csn": ("chapman", "ecg_path")}.get(
        name, (f"ptbxl/{name}{'_class' if name in ('super', 'sub') else ''}", "ecg_id")
    )
    stem = folder.replace("/", "_")
    found = []
    for part in ("train", "val", "test"):
        with open(MERL_TABLES / folder / f"{stem}_{part}.csv", newline="") as file:
            ids = [int(re.search(r"(\d+)(\.mat)?$", row[column])[1]) for row in csv.DictReader(file)]
        found.append((len(ids), digest(ids)))
    table_3 = {"super": (17084, 2146, 2158), "sub": (17084, 2146, 2158), "form": (7197, 901, 880)}
    table_3["rhythm"] = (16832, 2100, 2098)
    if name in MERL_SPLITS:
        assert found == list(MERL_SPLITS[name])
    else:
        assert found[0] == MERL_PTBXL[name] and tuple(n for n, _ in found) == table_3[name]


def test_fraction_of_a_folder_takes_whole_patients(tmp_path):
    rows = [f"r{i},p{i // 3},train,{i % 2},{i % 3 == 0:d}" for i in range(60)] + ["t,q,test,0,1"]
    dataset = datasets.folder(write_folder(tmp_path, rows))
    tenth, half = dataset.fraction(0.1), dataset.fraction(0.5)
    assert len(tenth) == 6 and len(half) == 30 and set(tenth) < set(half)
    for chosen in (tenth, half):
        owners = {dataset.patients[i] for i in chosen}
        assert len(chosen) == 3 * len(owners) and (np.diff(chosen) > 0).all()
    assert list(dataset.fraction(1.0)) == list(dataset.split["train"])
    assert list(dataset.fraction(0.1)) == list(tenth)
    assert any(list(dataset.fraction(0.1, seed=seed)) != list(tenth) for seed in range(3))
    train = dataset.subset("train")
    assert list(train.fraction(0.1)) == list(tenth)  # the training recordings come first here


def test_fraction_too_small_for_a_class_is_told(tmp_path):
    rows = [f"r{i},p{i},train,{i == 0:d},{i % 2}" for i in range(40)]
    dataset = datasets.folder(write_folder(tmp_path, rows))
    seed = next(seed for seed in range(20) if 0 not in np.random.RandomState(seed).permutation(40)[:8])
    with pytest.warns(UserWarning, match="1 of 2 classes have one outcome only in the 8 rec.*: atrial fibrillation$"):
        assert len(dataset.fraction(0.2, seed=seed)) == 8


@pytest.mark.filterwarnings("ignore:.*one outcome only")
def test_fraction_of_a_partial_copy_is_what_is_here_of_merls(tmp_path):
    wanted = merl.cpsc2018()["train"][merl.subset(4950, 0.01)][:3]
    others = [n for n in merl.cpsc2018()["train"][:8] if n not in set(merl.cpsc2018()["train"][merl.subset(4950, 0.01)])]
    for number in [*wanted, *others]:
        write_record(tmp_path / f"A{number:04d}", comments=["Dx: AF"])
    dataset = datasets.cpsc2018(tmp_path)
    assert [dataset[i].name for i in dataset.fraction(0.01)] == [f"A{n:04d}" for n in sorted(wanted)]
    assert list(dataset.subset("train").fraction(0.01)) == list(dataset.fraction(0.01))
    for number in wanted:
        (tmp_path / f"A{number:04d}.hea").unlink()
    with pytest.raises(ValueError, match="fraction is 0.01: none of the .* training recordings of cpsc2018"):
        datasets.cpsc2018(tmp_path).fraction(0.01)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, True, "0.1", None, float("nan")])
def test_bad_fraction(tmp_path, fraction):
    dataset = datasets.folder(write_folder(tmp_path, ROWS))
    with pytest.raises(ValueError, match="expected a share of the training recordings"):
        dataset.fraction(fraction)
    with pytest.raises(ValueError, match="seed is -1, expected a whole number"):
        dataset.fraction(1.0, seed=-1)
    with pytest.raises(ValueError, match="has no training recordings"):
        dataset.subset("test").fraction(0.1)


# ---- CPSC2018 ----


def test_cpsc2018(tmp_path):
    write_record(tmp_path / "g1" / "A0001", comments=["Age: 74", "Dx: RBBB,AF"])
    write_record(tmp_path / "g2" / "A0002", comments=["Dx: 59118001,164889003"])
    write_record(tmp_path / "g1" / "A0010", comments=[" Dx: Normal"])
    dataset = datasets.cpsc2018(tmp_path)
    named = [{c for c, on in zip(dataset.codes, row, strict=True) if on} for row in dataset.labels]
    assert named == [{"CRBBB", "AFIB"}, {"CRBBB", "AFIB"}, {"NORM"}]
    assert dataset.classes[:3] == ["normal", "atrial fibrillation", "first degree av block"]
    assert dataset.patients == ["A0001", "A0002", "A0010"]
    for part, numbers in merl.cpsc2018().items():
        assert [[1, 2, 10][i] for i in dataset.split[part]] == sorted({1, 2, 10} & set(numbers.tolist()))
    assert dataset[1].name == "A0002"
    assert dataset.notes[-1] == "partial copy: 3 of CPSC2018's 6,877 recordings"


def test_cpsc2018_refuses_what_it_is_not(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="has no A0001.hea; expected the training set of the China"
    ):
        datasets.cpsc2018(tmp_path)
    (tmp_path / "A0001.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(FileNotFoundError, match="has the organisers' .mat files without headers, which are no WFDB"):
        datasets.cpsc2018(tmp_path)
    write_record(tmp_path / "A0001", comments=["Age: 74"])
    with pytest.raises(ValueError, match="A0001.hea has no diagnosis"):
        datasets.cpsc2018(tmp_path)
    write_record(tmp_path / "A0001", comments=["Dx: 270492004,11157007"])
    with pytest.raises(ValueError, match="A0001.hea: #Dx has '11157007', expected Normal, AF"):
        datasets.cpsc2018(tmp_path)
    write_record(tmp_path / "A6878", comments=["Dx: AF"])
    write_record(tmp_path / "A0001", comments=["Dx: AF"])
    with pytest.raises(ValueError, match="A6878.hea is no recording of CPSC2018, which has A0001 to A6877"):
        datasets.cpsc2018(tmp_path)
    (tmp_path / "A6878.hea").unlink()
    write_record(tmp_path / "copy" / "A0001", comments=["Dx: AF"])
    with pytest.raises(ValueError, match="has A0001 in more than one folder"):
        datasets.cpsc2018(tmp_path)


# ---- Chapman-Shaoxing-Ningbo ----

CONDITIONS = """Acronym Name,Full Name,Snomed_CT
LBBB,left bundle branch block,164909002
LVQRSAL,lower voltage QRS in all lead,251146004
MI,myocardial infarction,164865005
MIBW,myocardial infraction in back wall,164865005
STTC,ST-T Change,428750005
VB,ventricular bigeminy,11157007
SR,Sinus Rhythm,426783006
AFIB,Atrial Fibrillation,164889003
AF,Atrial Flutter,164890007
"""


def write_csn(path, diagnoses, conditions=CONDITIONS):
    """One recording of MERL's 23,026 for each text of diagnoses: its number."""
    path.mkdir(exist_ok=True)
    (path / "ConditionNames_SNOMED-CT.csv").write_text("\ufeff" + conditions, encoding="utf-8")
    split = merl.csn()
    numbers = sorted(int(split[part][k]) for k in range(4) for part in ("train", "test", "validation"))
    for number, dx in zip(numbers, diagnoses, strict=False):
        write_record(path / "WFDBRecords" / "01" / "010" / f"JS{number:05d}", comments=["Age: 85", f"Dx: {dx}"])
    return numbers[: len(diagnoses)]


DIAGNOSES = ["426783006,428750005", "251146004", "164889003,164865005", "164909002,11157007"]


@pytest.mark.parametrize(
    "labels, expected",
    [
        ("exact", [{"SR", "STTC"}, set(), {"AFIB", "MI"}, {"LBBB", "VB"}]),
        ("merl", [{"SR", "STTC"}, set(), {"AFIB", "AF", "MI"}, {"LBBB", "VB"}]),
    ],
)
def test_csn(tmp_path, labels, expected):
    numbers = write_csn(tmp_path, DIAGNOSES)
    dataset = datasets.csn(tmp_path, labels)
    named = [{c for c, on in zip(dataset.codes, row, strict=True) if on} for row in dataset.labels]
    expected[1] |= {code for code in dataset.codes if labels == "merl" and code in "LVQRSAL"}
    expected[0] |= {code for code in dataset.codes if labels == "merl" and code in "SR,STTC"}
    assert named == expected and dataset.codes[6] == "VB" and dataset.classes[6] == "ventricular bigeminy"
    assert [int(patient[2:]) for patient in dataset.patients] == numbers
    for part, of in merl.csn().items():
        assert {numbers[i] for i in dataset.split[part]} == set(numbers) & set(of.tolist())
    assert len(dataset) == 4 and dataset.listed == 23026 and dataset[0].signal.shape == (12, 500)
    assert "partial copy: 4 of MERL's 23,026 recordings" in dataset.notes
    assert ("1 recordings have none of the 38 labels; kept" in dataset.notes) == (labels == "exact")
    assert any("for comparison only" in note for note in dataset.notes) == (labels == "merl")


def test_csn_lists_what_it_cannot_read(tmp_path):
    write_csn(tmp_path, [*DIAGNOSES, "426783006,999"])
    write_record(tmp_path / "WFDBRecords" / "99" / "999" / "JS99999", comments=["Dx: 426783006"])
    with pytest.warns(UserWarning, match="left out: 1 recordings without a known diagnosis in the header: JS"):
        assert len(datasets.csn(tmp_path)) == 4


def test_csn_refuses_what_it_is_not(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no ConditionNames_SNOMED-CT.csv; expected Chapman.*physionet.org"):
        datasets.csn(tmp_path)
    write_csn(tmp_path, [])
    with pytest.raises(FileNotFoundError, match=r"has none of MERL's 23,026 recordings \(0 others\); expected Chap"):
        datasets.csn(tmp_path)
    with pytest.raises(ValueError, match="labels is 'both', expected exact or merl"):
        datasets.csn(tmp_path, "both")
    write_csn(tmp_path, DIAGNOSES, conditions="Code,Name\n1,2\n")
    with pytest.raises(ValueError, match="has no column AcronymName, it has Code, Name; expected Chapman"):
        datasets.csn(tmp_path)


@pytest.mark.skipif(not MERL_TABLES.is_dir(), reason="needs MERL's tables in ../shared/data/merl")
@pytest.mark.parametrize("labels", ["exact", "merl"])
def test_whole_csn_from_headers_gives_merls_labels(tmp_path, labels, monkeypatch):
    """Headers of all 23,026, written from the tables' diagnoses: labels, sizes and digest are the tables'."""
    conditions = (SHARED / "text" / "snomed_chapman" / "ConditionNames_SNOMED-CT.csv").read_text(encoding="utf-8-sig")
    code = {line.split(",")[0]: line.rsplit(",", 1)[1] for line in conditions.splitlines()[1:]}
    (tmp_path / "ConditionNames_SNOMED-CT.csv").write_text(conditions)
    dx = {}
    for part in ("train", "val", "test"):
        with open(MERL_TABLES / "chapman" / f"chapman_{part}.csv", newline="") as file:
            for row in csv.DictReader(file):
                stem = pathlib.Path(row["ecg_path"]).stem
                dx[stem] = [code[name] for name in row["diagnose"].split(",")]
                (tmp_path / f"{stem}.hea").touch()
    monkeypatch.setattr(datasets, "_dx", lambda header: dx[header.stem])
    dataset = datasets.csn(tmp_path, labels)
    assert {part: len(of) for part, of in dataset.split.items()} == {"train": 16546, "validation": 1860, "test": 4620}
    assert not any("differ" in note for note in dataset.notes)
    assert any(note.startswith("147 recordings have none") for note in dataset.notes) == (labels == "exact")
    assert dataset.labels[:, dataset.codes.index("VB")].sum() == {"exact": 3, "merl": 916}[labels]
    for share, found in zip((0.01, 0.1), MERL_SUBSETS["csn"], strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = {int(dataset.patients[i][2:]) for i in dataset.fraction(share)}
        train = merl.csn()["train"]
        assert len(chosen) == found[0] and chosen == set(train[merl.subset(len(train), share)].tolist())
    dataset.labels[0, 0] ^= 1
    monkeypatch.setattr(datasets, "_dx", lambda header: dx[header.stem][:1])
    assert any("differ" in note for note in datasets.csn(tmp_path, labels).notes)


# ---- MIMIC-IV-ECG ----


def write_mimic(path, extra=()):
    """Two recordings with a report, one with too short a one, one whose files are not here."""
    path.mkdir(exist_ok=True)
    reports = {
        "101": ["Sinus rhythm", "", "Possible anterior infarct - age undetermined", "Abnormal EKG"],
        "102": ["Normal ECG"],
        "103": ["*** Atrial fibrillation ***", 'with "rapid"\nresponse, left axis'],
        "104": ["Sinus rhythm with first degree A-V block"],
    }
    columns = [f"report_{k}" for k in range(18)]
    with open(path / "machine_measurements.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject_id", "study_id", "cart_id", *columns, "rr_interval"])
        for study in ("103", "104", "101", "102"):  # in another order
            writer.writerow(["1", study, "7", *reports[study], *[""] * (18 - len(reports[study])), "800"])
    with open(path / "record_list.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject_id", "study_id", "file_name", "ecg_time", "path"])
        for k, study in enumerate(("101", "102", "103", "104", *extra)):
            place = f"files/p1000/p{k}/s{study}/{study}"
            writer.writerow([10 + k // 2, study, study, "2100-01-01", place])
            if study in ("101", "102", "103"):
                write_record(path / place, leads=("I", "II", "III", "aVR", "aVF", "aVL", *LEADS[6:]), seed=k)
    return path


def test_mimic_iv_ecg(tmp_path):
    source = datasets.mimic_iv_ecg(write_mimic(tmp_path / "m", extra=["105"]))
    assert len(source) == 2 and source.listed == 5
    assert source.notes == [
        "2 of the 5 recordings that record_list.csv lists are used",
        "left out: 1 with a report of fewer than 4 words",
        "left out: 1 that are not in machine_measurements.csv",
        "partial copy: 1 recordings with a report are not here",
    ]
    records = list(source)
    assert [record.name for record in records] == ["101", "103"] and records[0].leads[4] == "aVF"
    assert [record.patient for record in records] == ["10", "11"]
    assert records[0].report == "sinus rhythm. possible anterior infarct - age undetermined. abnormal ecg."
    assert records[1].report == 'atrial fibrillation ***. with "rapid" response, left axis.'
    assert source[-1].report == records[1].report
    np.testing.assert_array_equal(source[1].signal, records[1].signal)
    assert len(datasets.mimic_iv_ecg(tmp_path / "m", min_words=0)) == 3
    store = kmerl.Store.create(tmp_path / "store", source, progress=False)
    assert [record.report for record in store] == [record.report for record in records]
    assert store.patients == ["10", "11"]
    assert len(kmerl.Store.create(tmp_path / "store", source, progress=False)) == 2  # the same once more: opened


def test_mimic_iv_ecg_by_merls_protocol(tmp_path):
    source = datasets.mimic_iv_ecg(write_mimic(tmp_path / "m"), protocol="merl")
    store = kmerl.Store.create(tmp_path / "store", source, progress=False)
    raw = datasets.mimic_iv_ecg(tmp_path / "m")[1].signal.astype(np.float64)
    x = np.zeros((12, 5000))
    x[:, :500] = raw
    steps = ((x - x.min()) / (x.max() - x.min()) * 1000).astype(np.int16)
    np.testing.assert_allclose(source[1].signal, steps / 1000, atol=1e-7)
    order = [source[1].leads.index(lead) for lead in store[1].leads]
    np.testing.assert_array_equal(np.rint(store[1].signal * 1000), steps[order])


@pytest.mark.parametrize(
    "statements, report",
    [
        (["*** Normal EKG ***"], "normal ecg."),
        (["==- Pacing -=="], " pacing ."),  # to the letter
        (["A", "", "B."], "a. b.."),
        (["***"], ""),
        ([], ""),
        (["a\tb\r\nc"], "a b  c."),
    ],
)
def test_reports_as_merl_prepares_them(statements, report):
    assert mimic.prepare_report(statements) == report


def test_mimic_iv_ecg_refuses_what_it_is_not(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no record_list.csv; expected MIMIC-IV-ECG 1.0 .*physionet.org"):
        datasets.mimic_iv_ecg(tmp_path / "none")
    path = write_mimic(tmp_path / "m")
    for bad in (-1, 2.5, True):
        with pytest.raises(ValueError, match="min_words is .*, expected a whole number of 0 or more"):
            datasets.mimic_iv_ecg(path, min_words=bad)
    with pytest.raises(ValueError, match="protocol is 'paper', expected one of default, merl"):
        datasets.mimic_iv_ecg(path, protocol="paper")
    with pytest.raises(FileNotFoundError, match="has no recording to use: 0 of the 4 .*words; expected MIMIC"):
        datasets.mimic_iv_ecg(path, min_words=1000)
    table = path / "machine_measurements.csv"
    text = table.read_text()
    for broken, message in (
        (text[:-20], r"machine_measurements.csv, at byte [\d,]+: \d+ columns, the header has 22; cut off"),
        (text.replace("report_17", "other"), "has no column 'report_17', it has subject_id, study_id"),
        (text.replace("1,102,", "1,101,"), "has study 101 more than once"),
        (text.replace("1,102,", "1,1x2,"), "study_id is '1x2', expected a whole number"),
    ):
        table.write_text(broken)
        with pytest.raises(ValueError, match=message):
            datasets.mimic_iv_ecg(path)


# ---- MERL's signals ----


def minmax(x):
    return (x - x.min()) / (x.max() - x.min() + 1e-8)


def test_protocol_of_cpsc2018(tmp_path):
    """The first 2,500 samples, zeros up to 5,000, min-max over all."""
    write_record(tmp_path / "A0001", seconds=12, comments=["Dx: AF"])
    plain, dataset = datasets.cpsc2018(tmp_path), datasets.cpsc2018(tmp_path, protocol="merl")
    x = np.pad(plain[0].signal.astype(np.float64)[:, :2500], ((0, 0), (0, 2500)))
    for one in (dataset, dataset.subset("train"), dataset.subset("test"), dataset.subset("validation")):
        if len(one):
            np.testing.assert_allclose(one[0].signal, minmax(x), atol=1e-7)


def test_protocol_of_ptbxl_and_csn(tmp_path, small_ptbxl, monkeypatch):
    names = datasets.class_names
    monkeypatch.setattr(datasets, "class_names", lambda task: kmerl.class_names(task) if task == "csn" else names(task))
    write_csn(tmp_path / "c", DIAGNOSES)
    for read, path in ((datasets.ptbxl, small_ptbxl), (datasets.csn, tmp_path / "c")):
        plain, dataset = read(path), read(path, protocol="merl")
        x = np.zeros((12, 5000))
        x[:, :500] = plain[0].signal
        np.testing.assert_allclose(dataset[0].signal, minmax(x), atol=1e-7)
        assert dataset[0].leads == plain[0].leads
    with pytest.raises(ValueError, match="fs is 100, protocol 'merl' is for 500 Hz"):
        datasets.ptbxl(small_ptbxl, fs=100, protocol="merl")
    for read in (datasets.ptbxl, datasets.cpsc2018, datasets.csn):
        with pytest.raises(ValueError, match="protocol is 'exact', expected one of default, merl"):
            read(tmp_path, protocol="exact")


def test_missing_samples_are_interpolated_before_min_max():
    x = np.random.default_rng(0).normal(size=(3, 5000)).astype(np.float32)
    x[1, 1000] = np.nan
    repaired = x.astype(np.float64)
    repaired[1, 1000] = (repaired[1, 999] + repaired[1, 1001]) / 2
    record = merl.prepared(kmerl.Record(x, 500, ["I", "V1", "V6"]))
    np.testing.assert_allclose(record.signal, minmax(repaired), atol=1e-7)
    flat = merl.prepared(kmerl.Record(np.ones((1, 5000)), 500, ["I"]), stored=True)
    assert not flat.signal.any()
    with pytest.raises(ValueError, match="protocol 'merl' is for 500 Hz, the recording has 250 Hz"):
        merl.prepared(kmerl.Record(x, 250, ["I", "V1", "V6"]))


# ---- One class, one patient ----


@pytest.mark.filterwarnings("ignore:.*one outcome only")
def test_one_class_or_one_patient_only(tmp_path):
    rows = [f"r{i},p,train,1" for i in range(6)]
    dataset = datasets.folder(write_folder(tmp_path, rows, header="record,patient,split,af"))
    assert dataset.labels.shape == (6, 1) and list(dataset.fraction(0.1)) == list(range(6))


# ---- The development data ----

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the development data are not here")


@needs_shared
@pytest.mark.parametrize(
    "task, table", [("super", "super_class"), ("sub", "sub_class"), ("form", "form"), ("rhythm", "rhythm")]
)
def test_ptbxl_labels_are_merls(task, table):
    dataset = datasets.ptbxl(SHARED / "ptbxl", task)
    with open(SHARED / f"merl/finetune/data_split/ptbxl/{table}/ptbxl_{table}_train.csv", newline="") as file:
        rows = {pathlib.Path(row["filename_hr"]).name: row for row in csv.DictReader(file)}
    here = {path.stem for path in (SHARED / "ptbxl" / "records500").rglob("*.hea")}
    assert {pathlib.Path(path).name for path in dataset.paths} == here & set(rows)
    assert len(dataset.classes) == {"super": 5, "sub": 23, "form": 19, "rhythm": 12}[task]
    for path, labels, patient in zip(dataset.paths, dataset.labels, dataset.patients, strict=True):
        row = rows[pathlib.Path(path).name]
        assert [int(row[code]) for code in dataset.codes] == labels.tolist()
        assert float(row["patient_id"]) == float(patient)


@needs_shared
def test_cpsc2018_labels_are_merls():
    dataset = datasets.cpsc2018(SHARED / "cpsc2018")
    rows = {}
    for part in ("train", "val", "test"):
        with open(SHARED / f"merl/finetune/data_split/icbeb/icbeb_{part}.csv", newline="") as file:
            rows.update((row["filename"], row) for row in csv.DictReader(file))
    assert len(rows) == datasets.CPSC2018_SIZE and len(dataset) == 75
    for path, labels in zip(dataset.paths, dataset.labels, strict=True):
        row = rows[pathlib.Path(path).name]
        assert [int(row[code]) for code in dataset.codes] == labels.tolist()
    assert dataset[0].signal.shape == (12, 7500)
