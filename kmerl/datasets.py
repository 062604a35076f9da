"""Labelled data sets for evaluation, read from local folders; nothing is downloaded.

A `Dataset` knows where each recording lies, its labels, its patient and its part of the split; recordings are
read when asked for.
"""

import ast
import hashlib
import os
import pathlib
import warnings

import numpy as np

from kmerl import merl
from kmerl.classes import class_names
from kmerl.mimic import mimic_iv_ecg
from kmerl.table import Table, inside, shown, some

__all__ = ["Dataset", "cpsc2018", "csn", "folder", "mimic_iv_ecg", "ptbxl"]

PARTS = ("train", "validation", "test")


class Dataset:
    """Recordings with labels.

    Attributes
    ----------
    name : str
    paths : list of str
        Where each recording lies, without ending.
    labels : ndarray of uint8, (n, classes)
    classes : list of str
        Names of the classes as they are asked of a model.
    codes : list of str
        The data set's own short names of the classes; the same as ``classes`` where it has none.
    patients : list of str
        The patient of each recording.
    split : dict
        ``{"train": indices, "validation": indices, "test": indices}``, ndarrays of int64.
    listed : int
        How many recordings the data set's table lists; more than ``len(dataset)`` in a partial copy.
    notes : list of str
        What a reader of results must know, such as a partial copy.
    training : ndarray of int64, or None
        Of a data set with MERL's training subsets: the recordings of MERL's whole training part, in its order, as
        indices of this data set; -1 for those that are not here.
    protocol : {"default", "merl"}
        ``merl``: recordings are read as MERL prepares them (`kmerl.merl.prepared`), the first `taken` samples.
    taken : int
    """

    def __init__(
        self,
        name,
        paths,
        labels,
        classes,
        patients,
        split,
        *,
        codes=None,
        listed=None,
        notes=(),
        training=None,
        protocol="default",
        taken=merl.SAMPLES,
    ):
        self.name = name
        self.paths = list(paths)
        self.labels = labels
        self.classes = list(classes)
        self.codes = list(classes if codes is None else codes)
        self.patients = list(patients)
        self.split = split
        self.listed = len(self.paths) if listed is None else listed
        self.notes = list(notes)
        self.training = training
        self.protocol, self.taken = protocol, taken

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        """Recording `index` as a `Record`, read now; signals that are none of the twelve leads are left
        out."""
        from kmerl.record import read_record

        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise TypeError(f"index is {index!r}, expected a whole number; dataset.subset(part) gives a part")
        if not -len(self) <= index < len(self):
            raise IndexError(f"index is {index}, the data set has {len(self)} recordings")
        record = read_record(self.paths[index], leads="known")
        return merl.prepared(record, self.taken) if self.protocol == "merl" else record

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    def __repr__(self):
        parts = ", ".join(f"{len(indices):,} {part}" for part, indices in self.split.items())
        patients = f"{len(set(self.patients)):,} patients"
        recordings = f"{len(self):,} recordings of {patients}"
        return f"<Dataset {self.name}: {recordings}, {len(self.classes)} classes; {parts}>"

    def subset(self, part):
        """The recordings of one part of the split, as a data set of its own.

        Parameters
        ----------
        part : {"train", "validation", "test"}

        Returns
        -------
        Dataset
            All of its recordings in that part of its split.

        Raises
        ------
        ValueError
            Another name.
        """
        if part not in PARTS:
            raise ValueError(f"part is {part!r}, expected one of {', '.join(PARTS)}")
        indices = self.split[part]
        split = {name: np.arange(len(indices) if name == part else 0) for name in PARTS}
        training = None
        if part == "train" and self.training is not None:
            place = np.full(len(self) + 1, -1)  # the last: of -1
            place[indices] = np.arange(len(indices))
            training = place[self.training]
        return Dataset(
            self.name,
            [self.paths[i] for i in indices],
            self.labels[indices],
            self.classes,
            [self.patients[i] for i in indices],
            split,
            codes=self.codes,
            notes=self.notes,
            training=training,
            protocol=self.protocol,
            taken=self.taken,
        )

    def fraction(self, fraction, *, seed=merl.SEED):
        """The recordings of a training subset, as the low-data rows of the paper's tables use.

        PTB-XL, CPSC2018 and CSN: with the default seed MERL's own subset, what scikit-learn's
        ``train_test_split(train_size=fraction, random_state=seed)`` takes of MERL's training table; of a partial
        copy those of it that are here. Any other data set: whole patients in an order that depends on the seed
        alone, until they have that share of the training recordings; a smaller subset is part of a larger one.

        Parameters
        ----------
        fraction : float
            Share of the training recordings, above 0 to 1.
        seed : int
            0 to 2**32 - 1.

        Returns
        -------
        ndarray of int64
            Indices of the data set, increasing.

        Raises
        ------
        ValueError
            Another share or seed; no training recordings; none of the subset is here.

        Warns
        -----
        UserWarning
            Classes that occur in none or all of the subset's recordings, by name: nothing can be learnt of them.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float, np.number)) or not 0 < fraction <= 1:
            raise ValueError(f"fraction is {fraction!r}, expected a share of the training recordings above 0 to 1")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
            raise ValueError(f"seed is {seed!r}, expected a whole number from 0 to 2**32 - 1")
        train = np.asarray(self.split["train"], np.int64)
        if not len(train):
            raise ValueError(f"{self.name} has no training recordings to take a fraction of")
        if fraction == 1:
            chosen = train
        elif self.training is not None:
            chosen = self.training[merl.subset(len(self.training), float(fraction), seed)]
            chosen = np.sort(chosen[chosen >= 0])
        else:
            chosen = self._patients_of(train, fraction, seed)
        if not len(chosen):
            raise ValueError(
                f"fraction is {fraction!r}: none of the {len(train):,} training recordings of {self.name} that are "
                "here is in that subset; take a larger one"
            )
        count = self.labels[chosen].sum(axis=0, dtype=np.int64)
        lacking = [name for name, n in zip(self.classes, count, strict=True) if n in (0, len(chosen))]
        if lacking:
            warnings.warn(
                f"{len(lacking)} of {len(self.classes)} classes have one outcome only in the {len(chosen):,} "
                f"recordings of the {100 * fraction:g} % subset of {self.name}: {', '.join(lacking)}",
                stacklevel=2,
            )
        return chosen

    def _patients_of(self, train, fraction, seed):
        """Training recordings of whole patients, at least that fraction of all."""
        number = {patient: k for k, patient in enumerate(dict.fromkeys(self.patients[i] for i in train))}
        owner = np.array([number[self.patients[i]] for i in train])
        order = np.random.RandomState(seed).permutation(len(number))
        size = np.bincount(owner)[order].cumsum()
        taken = order[: np.searchsorted(size, fraction * len(train) - 1e-9) + 1]
        return np.sort(train[np.isin(owner, taken)])


# ---- Any folder ----


def folder(path, labels="labels.csv"):
    """WFDB recordings in a folder, with a CSV of labels.

    The CSV has a header and a line a recording. Column ``record`` is the recording's path from the folder,
    with or without ending; ``patient`` its patient (without the column each recording is its own patient);
    ``split`` one of train, validation, test (without the column all are test). Every other column is a class,
    its name what a model is asked for, with 0 or 1 in each line.

    Parameters
    ----------
    path : path
        The folder.
    labels : path
        The CSV, from the folder or absolute.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        No such folder or CSV, or none of the recordings it lists.
    ValueError
        A malformed CSV; the message names file, line, column and what was expected.

    Warns
    -----
    UserWarning
        Recordings that are listed but not there (left out); patients in more than one part of the split.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"path is {str(path)!r}, which is no folder; {FOLDER_LAYOUT}")
    if not (path / labels).is_file():
        raise FileNotFoundError(f"{str(path)!r} has no file {str(labels)!r}; {FOLDER_LAYOUT}")
    table = Table(path / labels)
    if "record" not in table.header:
        raise ValueError(
            f'{table.name} has no column "record", it has {", ".join(table.header[:8])}; {FOLDER_LAYOUT}'
        )
    classes = [column for column in table.header if column not in ("record", "patient", "split")]
    if not classes:
        raise ValueError(f"{table.name} has no class: every column but record, patient and split is one")

    notes, keep, paths, patients, parts, seen = [], [], [], [], [], {}
    values = np.zeros((len(table.rows), len(classes)), np.uint8)
    for i, row in enumerate(table.rows):
        record = _without_ending(row["record"])
        if not record:
            raise ValueError(f'{table.at(i)}, column "record": empty, expected a path from the folder')
        if record in seen:
            raise ValueError(f'{table.at(i)}, column "record": {record!r} is in line {seen[record]} too')
        seen[record] = table.line(i)
        for k, column in enumerate(classes):
            values[i, k] = table.bit(
                i, column, hint=" (every column but record, patient and split is a class)"
            )
        patient = row.get("patient", record)
        if not patient:
            raise ValueError(
                f'{table.at(i)}, column "patient": empty; repeat the record for a patient of its own'
            )
        part = row.get("split", "test").lower()
        if part not in PARTS:
            raise ValueError(
                f'{table.at(i)}, column "split": got {shown(row["split"])}, expected {", ".join(PARTS)}'
            )
        place = path / record  # anywhere: the table is the user's own, unlike those of a data base
        if _is_there(place):
            keep.append(i)
            paths.append(str(place))
            patients.append(patient)
            parts.append(part)
    if not keep:
        first = str(path / _without_ending(table.rows[0]["record"])) + ".hea"
        raise FileNotFoundError(
            f"none of the {len(table.rows)} recordings of {table.name} is there: no file {first!r}"
        )
    if "patient" not in table.header:
        notes.append("no patients given: each recording counts as a patient of its own")
    if "split" not in table.header:
        notes.append("no split given: all recordings are test")
    if len(keep) < len(table.rows):
        missing = [row["record"] for i, row in enumerate(table.rows) if i not in set(keep)]
        notes.append(f"{len(keep):,} of the {len(table.rows):,} recordings of {table.name} are here")
        warnings.warn(f"{notes[-1]}; left out: {some(missing)}", stacklevel=2)
    straddling = _straddling(patients, parts)
    if straddling:
        notes.append(f"{len(straddling)} patients are in more than one part of the split")
        warnings.warn(f"{notes[-1]}, which flatters results: {some(straddling)}", stacklevel=2)
    return Dataset(
        path.resolve().name,
        paths,
        values[keep],
        classes,
        patients,
        _split(parts),
        listed=len(table.rows),
        notes=notes,
    )


FOLDER_LAYOUT = (
    "expected a folder of WFDB recordings with a CSV like labels.csv: "
    "record,patient,split,atrial fibrillation / A0001,p1,test,1"
)


# ---- PTB-XL ----

PTBXL_LAYOUT = (
    "expected PTB-XL 1.0.3 as unpacked from https://physionet.org/content/ptb-xl/1.0.3/ : "
    "ptbxl_database.csv, scp_statements.csv, records500/00000/00001_hr.hea and so on (records100/ for "
    "fs=100); a part of it is enough"
)

PTBXL_TASKS = ("super", "sub", "form", "rhythm")
PTBXL_SIZES = {
    "super": 21388,
    "sub": 21388,
    "form": 8978,
    "rhythm": 21030,
}  # of version 1.0.3 (the paper's Table 3)

# ecg_id of the 38 duplicates that older versions have and 1.0.3 has not.
PTBXL_DUPLICATES = {
    137, 139, 140, 141, 142, 143, 145, 456, 458, 459, 461, 462, 2506, 2511, 3795, 3798, 3800, 3801,
    3832, 5817, 7777, 7779, 7782, 9821, 9825, 9888, 11810, 11814, 11815, 11817, 11838, 13791, 13793,
    13796, 13797, 13799, 15742, 18150,
}  # fmt: skip


def ptbxl(path, task="super", *, fs=500, protocol="default"):
    """PTB-XL 1.0.3 [1]_ from a local folder, whole or in part.

    Labels are the statements of ``scp_codes`` whatever their likelihood; recordings without a label of the
    task are left out (21,388, 21,388, 8,978 and 21,030 remain of the whole), and so are the 38 duplicates
    that versions before 1.0.3 hold. The split is the data set's: folds 1-8 train, 9 validation, 10 test.

    Parameters
    ----------
    path : path
        The folder with ptbxl_database.csv.
    task : {"super", "sub", "form", "rhythm"}
        5 diagnostic superclasses, 23 subclasses, 19 form or 12 rhythm statements.
    fs : {500, 100}
        Which of its two rates to read, in Hz.
    protocol : {"default", "merl"}
        ``merl``: recordings as MERL prepares them (`kmerl.merl.prepared`), for comparison with its figures; for a
        model with ``normalisation="none"``, which takes them as they are.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        No such folder, not PTB-XL, or none of its recordings; the message says where to get it.
    ValueError
        Another task or rate; a malformed table.

    References
    ----------
    .. [1] Wagner et al. 2020, "PTB-XL, a large publicly available electrocardiography dataset",
       doi:10.1038/s41597-020-0495-6.
    """
    if task not in PTBXL_TASKS:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(PTBXL_TASKS)}")
    if fs not in (500, 100):
        raise ValueError(f"fs is {fs!r}, PTB-XL has 500 and 100 Hz")
    merl.check_protocol(protocol)
    if protocol == "merl" and fs != merl.FS:
        raise ValueError(f"fs is {fs!r}, protocol 'merl' is for 500 Hz")
    path = pathlib.Path(path)
    for file in ("ptbxl_database.csv", "scp_statements.csv"):
        if not (path / file).is_file():
            raise FileNotFoundError(f"{str(path)!r} has no {file}; {PTBXL_LAYOUT}")
    statements = Table(path / "scp_statements.csv", unnamed="code")
    statements.need("code", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")
    database = Table(path / "ptbxl_database.csv")
    file_column = "filename_hr" if fs == 500 else "filename_lr"
    database.need("ecg_id", "patient_id", "scp_codes", "strat_fold", file_column)

    names = class_names(f"ptbxl-{task}")
    codes = list(names)
    column_of = _statement_columns(statements, task, codes)
    paths, patients, parts, rows, ids, duplicates = [], [], [], [], [], 0
    for i, row in enumerate(database.rows):
        ecg_id = int(database.whole(i, "ecg_id"))
        if ecg_id in PTBXL_DUPLICATES:
            duplicates += 1
            continue
        label = np.zeros(len(codes), np.uint8)
        for statement in _statements(database, i):
            if statement in column_of:
                label[column_of[statement]] = 1
        place = inside(path, row[file_column], f"{database.at(i)}, column {file_column!r}")
        if not label.any() or not _is_there(place):
            continue
        rows.append(label)
        ids.append(ecg_id)
        paths.append(str(place))
        patients.append(database.whole(i, "patient_id"))
        fold = database.whole(i, "strat_fold")
        parts.append("test" if fold == "10" else "validation" if fold == "9" else "train")
    if not paths:
        raise FileNotFoundError(
            f"{str(path)!r} has none of the recordings of its {database.name}; {PTBXL_LAYOUT}"
        )
    dataset = Dataset(
        f"ptbxl-{task}",
        paths,
        np.array(rows),
        names.values(),
        patients,
        _split(parts),
        codes=codes,
        listed=PTBXL_SIZES[task],
        training=_places(merl.ptbxl(task), ids),
        protocol=protocol,
    )
    if len(dataset) < dataset.listed:
        dataset.notes.append(
            f"partial copy: {len(dataset):,} of PTB-XL's {dataset.listed:,} recordings of this task"
        )
    if duplicates:
        dataset.notes.append(f"left out: {duplicates} duplicates, which version 1.0.3 no longer has")
    return dataset


def _statement_columns(statements, task, codes):
    """For each statement of the task (its code in scp_statements.csv) the column it sets."""
    kind = {"super": "diagnostic_class", "sub": "diagnostic_subclass"}.get(task)
    columns = {}
    for i, row in enumerate(statements.rows):
        if kind is None:
            code = row["code"] if row[task] in ("1", "1.0") else ""
        else:
            code = row[kind]
        code = code.strip("_")
        if code in codes:
            columns[row["code"]] = codes.index(code)
        elif code:
            raise ValueError(
                f"{statements.at(i)}: {code!r} is no class of PTB-XL's task {task!r}; another version?"
            )
    missing = set(range(len(codes))) - set(columns.values())
    if missing:
        raise ValueError(
            f"{statements.name} lacks the classes {', '.join(codes[k] for k in sorted(missing))}"
        )
    return columns


def _statements(database, i):
    try:
        statements = ast.literal_eval(database.rows[i]["scp_codes"])
        return list(statements.keys())
    except (ValueError, SyntaxError, AttributeError, MemoryError, RecursionError):
        raise ValueError(
            f'{database.at(i)}, column "scp_codes": got {shown(database.rows[i]["scp_codes"])}, '
            "expected statements like {'NORM': 100.0, 'SR': 0.0}"
        ) from None


# ---- CPSC2018 ----

CPSC2018_LAYOUT = (
    "expected the training set of the China Physiological Signal Challenge 2018 as PhysioNet distributes it "
    "(https://physionet.org/content/challenge-2021/1.0.3/ , folder training/cpsc_2018): A0001.hea, A0001.mat "
    "and so on, in the folder or folders below it; a part of it is enough"
)

# code: what #Dx says, in the Challenges' SNOMED CT and in the older headers' words
CPSC2018_DX = {
    "NORM": ("426783006", "Normal"),
    "AFIB": ("164889003", "AF"),
    "1AVB": ("270492004", "I-AVB"),
    "CLBBB": ("164909002", "LBBB"),
    "CRBBB": ("59118001", "RBBB"),
    "PAC": ("284470004", "PAC"),
    "VPC": ("164884008", "PVC"),
    "STD": ("429622005", "STD"),
    "STE": ("164931005", "STE"),
}
CPSC2018_SIZE = 6877


def cpsc2018(path, *, protocol="default"):
    """CPSC2018 [1]_, nine classes, from a local folder, whole or in part.

    Labels are read from the headers' ``#Dx`` lines. Patients were not published: each recording is its own.
    The challenge's test set was not published either: the split is MERL's, 4,950 for training, 551 for validation
    and 1,376 for test, in the whole. cpsc_2018_extra (Q0001 and so on) is another data set.

    Parameters
    ----------
    path : path
        The folder with A0001.hea and so on, or a folder above.
    protocol : {"default", "merl"}
        ``merl``: recordings as MERL prepares them (`kmerl.merl.prepared`, the first 2,500 samples), for comparison
        with its figures; for a model with ``normalisation="none"``, which takes them as they are.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        No such folder, or none of its recordings; the message says where to get it.
    ValueError
        A header with a diagnosis that is none of the nine, or without one.

    References
    ----------
    .. [1] Liu et al. 2018, "An open access database for evaluating the algorithms of electrocardiogram rhythm
    and
       morphology abnormality detection", doi:10.1166/jmihi.2018.2442.
    """
    merl.check_protocol(protocol)
    path = pathlib.Path(path)
    headers = sorted(path.rglob("A[0-9][0-9][0-9][0-9].hea"), key=lambda header: header.stem)
    if not headers:
        original = any(path.rglob("A[0-9][0-9][0-9][0-9].mat"))
        why = "has the organisers' .mat files without headers, which are no WFDB" if original else "has no A0001.hea"
        raise FileNotFoundError(f"{str(path)!r} {why}; {CPSC2018_LAYOUT}")
    twice = [a.stem for a, b in zip(headers, headers[1:], strict=False) if a.stem == b.stem]
    if twice:
        raise ValueError(f"{str(path)!r} has {some(twice)} in more than one folder; expected each recording once")
    codes, spoken = list(CPSC2018_DX), [words[1] for words in CPSC2018_DX.values()]
    names = class_names("cpsc2018")
    columns = {word: k for k, words in enumerate(CPSC2018_DX.values()) for word in words}
    split = merl.cpsc2018()
    part_of = {int(number): part for part, numbers in split.items() for number in numbers}
    labels = np.zeros((len(headers), len(codes)), np.uint8)
    numbers, parts = [int(header.stem[1:]) for header in headers], []
    for i, header in enumerate(headers):
        if numbers[i] not in part_of:
            raise ValueError(f"{header.name} is no recording of CPSC2018, which has A0001 to A6877")
        parts.append(part_of[numbers[i]])
        for word in _dx(header):
            if word not in columns:
                raise ValueError(
                    f"{header.name}: #Dx has {word!r}, expected {', '.join(spoken)} or their SNOMED CT "
                    "codes; is this CPSC2018?"
                )
            labels[i, columns[word]] = 1
    dataset = Dataset(
        "cpsc2018",
        [str(header.with_suffix("")) for header in headers],
        labels,
        [names[code] for code in codes],
        [header.stem for header in headers],
        _split(parts),
        codes=codes,
        listed=CPSC2018_SIZE,
        notes=["no patients published: each recording counts as a patient of its own"],
        training=_places(split["train"], numbers),
        protocol=protocol,
        taken=2500,
    )
    if len(dataset) < dataset.listed:
        dataset.notes.append(f"partial copy: {len(dataset):,} of CPSC2018's {dataset.listed:,} recordings")
    return dataset


def _dx(header):
    for line in header.read_bytes().decode("utf-8", "replace").splitlines():
        name, _, value = line.lstrip("# \t").partition(":")
        if line.startswith("#") and name.strip().lower() == "dx":
            words = [word.strip() for word in value.split(",") if word.strip()]
            if words:
                return words
    raise ValueError(f'{header.name} has no diagnosis: expected a line like "#Dx: AF" or "#Dx: 164889003"')


# ---- Chapman-Shaoxing-Ningbo ----

CSN_LAYOUT = (
    "expected Chapman-Shaoxing-Ningbo as unpacked from https://physionet.org/content/ecg-arrhythmia/1.0.0/ : "
    "ConditionNames_SNOMED-CT.csv, RECORDS, WFDBRecords/01/010/JS00001.hea and .mat, and so on; a part of the "
    "recordings is enough"
)
CSN_SIZE = 23026
# Of the labels of the whole, in the order of MERL's tables; "merl": of the tables themselves.
CSN_DIGEST = {"merl": "e772ae80d7bcb08e", "exact": "7d2ec19d53d65905"}


def csn(path, labels="exact", *, protocol="default"):
    """Chapman-Shaoxing-Ningbo [1]_, 38 classes, from a local folder, whole or in part.

    MERL's 23,026 of the 45,152 recordings (those whose diagnoses all have an entry in ConditionNames_SNOMED-CT.csv,
    with one of the classes) and its split: 16,546 for training, 1,860 for validation, 4,620 for test. Labels are
    read from the headers' ``#Dx`` lines. Patients were not published: each recording is its own.

    Parameters
    ----------
    path : path
        The folder with ConditionNames_SNOMED-CT.csv and WFDBRecords.
    labels : {"exact", "merl"}
        ``exact``: a class is set where its acronym is one of the recording's. ``merl``: where its acronym is *part*
        of the text of them all, as in MERL's tables, which is wrong for seven classes (VB is in LVQRSAL: 913 of its
        916 recordings); for comparison with MERL's figures only. Recordings without a label (147 of the whole, with
        ``exact``) are kept and counted in the notes.
    protocol : {"default", "merl"}
        ``merl``: recordings as MERL prepares them (`kmerl.merl.prepared`), for comparison with its figures; for a
        model with ``normalisation="none"``, which takes them as they are.

    Returns
    -------
    Dataset

    Raises
    ------
    FileNotFoundError
        No such folder, not this data set, or none of its recordings; the message says where to get it.
    ValueError
        Other labels or protocol; a malformed table.

    Warns
    -----
    UserWarning
        Recordings whose header has no diagnosis or one that the table lacks: left out and listed.

    References
    ----------
    .. [1] Zheng et al. 2022, "A large scale 12-lead electrocardiogram database for arrhythmia study",
       doi:10.13026/wgex-er52.
    """
    if labels not in CSN_DIGEST:
        raise ValueError(f"labels is {labels!r}, expected exact or merl")
    merl.check_protocol(protocol)
    path = pathlib.Path(path)
    if not (path / "ConditionNames_SNOMED-CT.csv").is_file():
        raise FileNotFoundError(f"{str(path)!r} has no ConditionNames_SNOMED-CT.csv; {CSN_LAYOUT}")
    acronyms = _csn_acronyms(Table(path / "ConditionNames_SNOMED-CT.csv"))
    split = merl.csn()
    part_of = {int(number): part for part, numbers in split.items() for number in numbers}
    headers = {int(h.stem[2:]): h for h in sorted(path.rglob("JS[0-9][0-9][0-9][0-9][0-9].hea"))}
    names = class_names("csn")
    numbers, rows, bad = [], [], []
    for number in sorted(headers.keys() & part_of.keys()):
        try:
            found = [acronyms[code] for code in _dx(headers[number])]
        except (KeyError, ValueError, OSError):
            bad.append(headers[number].stem)
            continue
        found = found if labels == "exact" else ",".join(found)
        numbers.append(number)
        rows.append([code in found for code in names])
    if not numbers:
        raise FileNotFoundError(
            f"{str(path)!r} has none of MERL's {CSN_SIZE:,} recordings ({len(headers):,} others); {CSN_LAYOUT}"
        )
    rows = np.array(rows, np.uint8)
    notes = ["no patients published: each recording counts as a patient of its own"]
    if labels == "merl":
        notes.append("labels as in MERL's tables, which are wrong for 7 of the 38 classes: for comparison only")
    if not rows.any(axis=1).all():
        notes.append(f"{np.count_nonzero(~rows.any(axis=1)):,} recordings have none of the 38 labels; kept")
    if bad:
        notes.append(f"left out: {len(bad):,} recordings without a known diagnosis in the header: {some(bad)}")
        warnings.warn(notes[-1], stacklevel=2)
    if len(numbers) < CSN_SIZE:
        notes.append(f"partial copy: {len(numbers):,} of MERL's {CSN_SIZE:,} recordings")
    training = _places(split["train"], numbers)
    dataset = Dataset(
        "csn",
        [str(headers[number].with_suffix("")) for number in numbers],
        rows,
        names.values(),
        [headers[number].stem for number in numbers],
        _split([part_of[number] for number in numbers]),
        codes=names,
        listed=CSN_SIZE,
        notes=notes,
        training=training,
        protocol=protocol,
    )
    if len(dataset) == CSN_SIZE:
        order = np.concatenate([_places(split[part], numbers) for part in PARTS])
        if hashlib.sha256(rows[order].tobytes()).hexdigest()[:16] != CSN_DIGEST[labels]:
            dataset.notes.append("labels differ from MERL's tables: another version of the data set?")
    return dataset


def _csn_acronyms(table):
    """{SNOMED CT code: the first acronym that has it}."""
    columns = {column.replace(" ", ""): column for column in table.header}
    for needed in ("AcronymName", "Snomed_CT"):
        if needed not in columns:
            raise ValueError(f"{table.name} has no column {needed}, it has {', '.join(table.header)}; {CSN_LAYOUT}")
    acronyms = {}
    for row in table.rows:
        acronyms.setdefault(row[columns["Snomed_CT"]], row[columns["AcronymName"]])
    return acronyms


# ---- What they share ----


def _without_ending(record):
    for ending in (".hea", ".dat", ".mat"):
        record = record.removesuffix(ending)
    return record


def _is_there(path):
    return os.path.isfile(f"{path}.hea")


def _split(parts):
    parts = np.array(parts)
    return {part: np.flatnonzero(parts == part) for part in PARTS}


def _places(wanted, ids):
    """The index in ids of each wanted one, -1 where it is not there."""
    place = {one: i for i, one in enumerate(ids)}
    return np.array([place.get(int(one), -1) for one in wanted], np.int64)


def _straddling(patients, parts):
    first = {}
    return sorted({p for p, part in zip(patients, parts, strict=True) if first.setdefault(p, part) != part})
