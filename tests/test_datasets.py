"""Data sets read from folders: small ones written here, and the development data where they are."""

import csv
import hashlib
import pathlib
import re

import numpy as np
import pytest

from kmerl import datasets, merl

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
        datasets.folder(tmp_path)


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
