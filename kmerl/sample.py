"""The sample that comes with kmerl: about a hundred PTB-XL recordings with their reports (CC BY 4.0, see
``kmerl/data/sample/ATTRIBUTION.md``).

A packed recording is an array (2, 12 * samples) uint8: the low and the high bytes of unsigned numbers, which
are ``2 r`` for ``r >= 0`` and ``-2 r - 1`` for ``r < 0`` of residuals r. The residuals of I, II and V1-V6 are
second differences; those of the other limb leads are what is left of Einthoven's and Goldberger's relations,
rounded down: ``III - (II - I)``, ``aVR + (I + II) / 2``, ``aVL - (I - III) / 2``, ``aVF - (II + III) / 2``.
So zip packs a sample in about three bits, and nothing is lost."""

import json
import pathlib

import numpy as np

from .classes import class_names
from .leads import LEADS
from .record import Record

__all__ = ["sample_dataset", "sample_path", "sample_records"]

FOLDER = pathlib.Path(__file__).resolve().parent / "data" / "sample"
FS = 500
PARTS = ("all", "train", "heldout")
# A network that about a hundred recordings can teach something, in minutes.
NETWORK = {
    "size": "custom",
    "width": 64,
    "depth": 2,
    "heads": 1,
    "mlp_width": 128,
    "query_width": 64,
    "query_layers": 1,
    "query_heads": 1,
    "query_mlp_width": 64,
}
# The diagnostic statements of PTB-XL by superclass (its scp_statements.csv).
SUPERCLASSES = {
    "HYP": "LVH LAO/LAE RVH RAO/RAE SEHYP",
    "NORM": "NORM",
    "MI": "IMI ASMI ILMI AMI ALMI INJAS LMI INJAL IPLMI IPMI INJIN INJLA PMI INJIL",
    "CD": "LAFB IRBBB 1AVB IVCD CRBBB CLBBB LPFB WPW ILBBB 3AVB 2AVB",
    "STTC": "NDT NST_ DIG LNGQT ISC_ ISCAL ISCIN ISCIL ISCAS ISCLA ANEUR EL ISCAN",
}
MEASURED = [0, 1, 6, 7, 8, 9, 10, 11]  # I, II, V1-V6; the other four follow from I and II, to rounding


def encode(signal):
    """Packed form of a recording: (12, samples) int16 in steps of 1 uV -> (2, 12 * samples) uint8."""
    x = np.asarray(signal, dtype=np.int64)
    r = np.empty_like(x)
    r[MEASURED] = np.diff(x[MEASURED], n=2, axis=1, prepend=np.zeros((len(MEASURED), 2), np.int64))
    r[2] = x[2] - (x[1] - x[0])
    r[3] = x[3] + ((x[0] + x[1]) >> 1)
    r[4] = x[4] - ((x[0] - x[2]) >> 1)
    r[5] = x[5] - ((x[1] + x[2]) >> 1)
    unsigned = np.where(r >= 0, 2 * r, -2 * r - 1).ravel()
    if unsigned.max(initial=0) > 0xFFFF:
        raise OverflowError("signal has a jump that the packed form cannot hold")
    return np.stack([unsigned & 0xFF, unsigned >> 8]).astype(np.uint8)


def decode(packed):
    """The inverse of `encode`: (2, 12 * samples) uint8 -> (12, samples) int16."""
    unsigned = (packed[0].astype(np.int64) | (packed[1].astype(np.int64) << 8)).reshape(12, -1)
    r = (unsigned >> 1) ^ -(unsigned & 1)
    x = np.empty_like(r)
    x[MEASURED] = np.cumsum(np.cumsum(r[MEASURED], axis=1), axis=1)
    x[2] = r[2] + (x[1] - x[0])
    x[3] = r[3] - ((x[0] + x[1]) >> 1)
    x[4] = r[4] + ((x[0] - x[2]) >> 1)
    x[5] = r[5] + ((x[1] + x[2]) >> 1)
    return x.astype(np.int16)


def sample_records(part="all"):
    """The recordings that come with kmerl.

    110 PTB-XL recordings [1]_ of 10 s at 500 Hz with 12 leads, chosen for a variety of findings, with the
    reports as PTB-XL has them (German, English and Swedish).

    Parameters
    ----------
    part : {"all", "train", "heldout"}
        All of them, or one side of a fixed split (about 70 to 30); no patient is on both sides.

    Returns
    -------
    list of Record
        Each with `signal` (12, 5000) float32 in mV, `fs` 500, `leads`, `name`, `report`, `patient`, and in
        `comments` the age in years, the sex and the SCP codes with their likelihoods in percent (0: not
        stated).

    Raises
    ------
    ValueError
        If `part` is none of the three.

    References
    ----------
    .. [1] Wagner et al. 2020, "PTB-XL, a large publicly available electrocardiography dataset",
       doi:10.1038/s41597-020-0495-6; data doi:10.13026/kfzx-aw45, CC BY 4.0.

    Examples
    --------
    >>> import kmerl
    >>> len(kmerl.sample_records())
    110
    """
    import csv

    if part not in PARTS:
        raise ValueError(f"part is {part!r}, expected one of {', '.join(map(repr, PARTS))}")
    records = []
    with (
        np.load(FOLDER / "signals.npz") as signals,
        open(FOLDER / "recordings.csv", newline="", encoding="utf-8") as f,
    ):
        for row in csv.DictReader(f):
            if part not in ("all", row["part"]):
                continue
            codes = json.loads(row["scp_codes"])
            comments = [f"Age: {row['age']}"] if row["age"] else []
            comments.append(f"Sex: {row['sex']}")
            comments.append(
                "SCP: " + ", ".join(f"{code} {likelihood:g}" for code, likelihood in codes.items())
            )
            records.append(
                Record(
                    decode(signals[row["name"]]).astype(np.float32) / np.float32(1000),
                    fs=FS,
                    leads=LEADS,
                    name=row["name"],
                    comments=comments,
                    report=row["report"],
                    patient=row["patient"],
                )
            )
    return records


def sample_dataset():
    """The recordings that come with kmerl as a labelled data set: PTB-XL's five diagnostic superclasses.

    Labels are those of PTB-XL's task "super": every statement counts, whatever its likelihood; recordings without
    a diagnostic statement are left out. Test are the recordings of ``sample_records("heldout")``; of the others, every
    fifth patient is for validation.

    Returns
    -------
    kmerl.datasets.Dataset
        Named "sample". It shows how evaluations work; its figures say nothing about a model.
    """
    from .datasets import PARTS, Dataset

    class Sample(Dataset):
        """Its recordings are in memory."""

        def __getitem__(self, index):
            if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
                raise TypeError(f"index is {index!r}, expected a whole number; dataset.subset(part) gives a part")
            return records[self.paths[index]]

        def subset(self, part):
            part = super().subset(part)
            part.__class__ = Sample
            return part

    names = class_names("ptbxl-super")
    records, labels, parts = {}, [], []
    for side in ("train", "heldout"):
        patients = {}
        for record in sample_records(side):
            statements = next(line for line in record.comments if line.startswith("SCP: "))[5:].split(", ")
            stated = {statement.rsplit(" ", 1)[0] for statement in statements}
            label = [bool(stated & set(SUPERCLASSES[code].split())) for code in names]
            if any(label):
                records[record.name] = record
                labels.append(label)
                number = patients.setdefault(record.patient, len(patients))
                parts.append("test" if side == "heldout" else "validation" if number % 5 == 4 else "train")
    parts = np.array(parts)
    return Sample(
        "sample",
        records,
        np.array(labels, np.uint8),
        names.values(),
        [record.patient for record in records.values()],
        {part: np.flatnonzero(parts == part) for part in PARTS},
        codes=names,
        notes=["the recordings that come with kmerl: too few to say anything about a model"],
    )


def sample_path(name):
    """Path of a sample recording that comes as a WFDB record too, without ending, for `kmerl.read_record`.

    Parameters
    ----------
    name : str
        "00001_hr" (normal) or "00330_hr" (atrial fibrillation), both in WFDB format 16; "00286_hr" (left
        bundle branch block), a MATLAB v4 file as in the PhysioNet Challenges.

    Returns
    -------
    str
        The path; the header is this with ".hea" added.

    Raises
    ------
    KeyError
        If there is no such record; the message lists those there are.
    """
    path = FOLDER / "wfdb" / str(name)
    names = sorted(header.stem for header in (FOLDER / "wfdb").glob("*.hea"))
    if name not in names:
        raise KeyError(f"no sample record {name!r}, there are {', '.join(names)}")
    return str(path)
