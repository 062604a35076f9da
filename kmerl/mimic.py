"""MIMIC-IV-ECG for pretraining: recordings with their machine reports, read from its tables row by row."""

import array
import csv
import os
import pathlib

import numpy as np

from kmerl import merl
from kmerl.table import inside, shown

__all__ = ["Pretraining", "mimic_iv_ecg", "prepare_report"]

MIMIC_LAYOUT = (
    "expected MIMIC-IV-ECG 1.0 as unpacked from https://physionet.org/content/mimic-iv-ecg/1.0/ : record_list.csv, "
    "machine_measurements.csv, files/p1000/p10000032/s40689238/40689238.hea and .dat, and so on; a part of the "
    "recordings is enough"
)
STATEMENTS = 18  # report_0 .. report_17


def prepare_report(statements):
    """A report of its statements, as MERL prepares them (SPEC 8).

    Parameters
    ----------
    statements : iterable of str
        Empty ones are left out.

    Returns
    -------
    str
        Joined by ". ", EKG read as ECG, without decorations at the ends, lower case, with a final "."; "" where
        no word is left.
    """
    report = ". ".join(statement for statement in statements if statement)
    report = report.replace("EKG", "ECG").replace("ekg", "ecg")
    report = report.strip(" *").strip("=-").strip("=").lower()
    for space in "\n\r\t":
        report = report.replace(space, " ")
    return report + "." if report.split() else ""


class Listed(os.PathLike):
    """Where a recording lies, with its report and patient: what a store's workers read."""

    __slots__ = ("path", "report", "patient")

    def __init__(self, path, report, patient):
        self.path, self.report, self.patient = path, report, patient

    def __fspath__(self):
        return self.path


class _Rows:
    """A CSV's columns by name, row by row, each row with the place where it begins in the file."""

    def __init__(self, path):
        self.path, self.name, self.place = path, os.path.basename(path), 0

    def _lines(self, file):
        for line in file:
            self.place += len(line)
            try:
                yield line.decode("utf-8-sig" if self.place == len(line) else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{self.name} is no CSV in UTF-8: {error}") from None

    def header(self, *needed):
        """The header; ValueError where a needed column is not there."""
        with open(self.path, "rb") as file:
            self.place = 0
            try:
                header = [column.strip() for column in next(csv.reader(self._lines(file)), [])]
            except csv.Error as error:
                raise ValueError(f"{self.name} is no CSV: {error}") from None
        missing = [column for column in needed if column not in header]
        if missing:
            raise ValueError(
                f"{self.name} has no column {missing[0]!r}, it has {', '.join(header[:8])}; {MIMIC_LAYOUT}"
            )
        return header

    def read(self, columns, file, places=None):
        """(place, texts of the columns) of the rows, or of those that begin at the places."""
        header = self.header(*columns)
        index = [header.index(column) for column in columns]
        if places is None:
            self.place = 0
            reader = csv.reader(self._lines(file))
            next(reader)
            places = iter(lambda: self.place, -1)
        else:
            reader = None
        for place in places:
            place = int(place)
            try:
                if reader is None:
                    file.seek(place)
                    row = next(csv.reader(self._lines(file)))
                else:
                    row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise ValueError(f"{self.name} is no CSV, at byte {place:,}: {error}") from None
            if not row:
                continue
            if len(row) != len(header):
                raise ValueError(
                    f"{self.name}, at byte {place:,}: {len(row)} columns, the header has {len(header)}; cut off?"
                )
            yield place, [row[k].strip() for k in index]


class Pretraining:
    """Recordings with reports and patients, for `Store.create`.

    ``len(source)``; ``source[i]`` and iteration read Records with ``report`` and ``patient``;
    ``Store.create("store", source)`` reads them in its own workers. Memory: 16 bytes a recording.

    Attributes
    ----------
    name : str
    listed : int
        How many recordings record_list.csv lists.
    notes : list of str
        How many of them are used, and why the others are not.
    protocol : {"default", "merl"}
    """

    def __init__(self, folder, min_words, protocol):
        self.name, self.protocol = "mimic_iv_ecg", protocol
        self._folder = folder
        self._records = _Rows(folder / "record_list.csv")
        self._measured = _Rows(folder / "machine_measurements.csv")
        self._columns = ["study_id", *(f"report_{k}" for k in range(STATEMENTS))]
        self._read_tables(min_words)

    def _read_tables(self, min_words):
        studies, places, enough = array.array("q"), array.array("q"), array.array("b")
        with open(self._measured.path, "rb") as file:
            for place, (study, *statements) in self._measured.read(self._columns, file):
                studies.append(_whole(study, "study_id", self._measured, place))
                places.append(place)
                enough.append(len(prepare_report(statements).split()) >= min_words)
        order = np.argsort(studies, kind="stable")
        studies, places, enough = (np.array(x)[order] for x in (studies, places, enough))
        twice = studies[1:][studies[1:] == studies[:-1]]
        if len(twice):
            raise ValueError(f"{self._measured.name} has study {twice[0]} more than once")
        self.listed, unknown, short, absent = 0, 0, 0, 0
        rows, reports = array.array("q"), array.array("q")
        with open(self._records.path, "rb") as file:
            for place, (study, _, path) in self._records.read(("study_id", "subject_id", "path"), file):
                self.listed += 1
                study = _whole(study, "study_id", self._records, place)
                k = int(np.searchsorted(studies, study))
                if k == len(studies) or studies[k] != study:
                    unknown += 1
                elif not enough[k]:
                    short += 1
                elif not os.path.isfile(f"{inside(self._folder, path, self._records.name)}.hea"):
                    absent += 1
                else:
                    rows.append(place)
                    reports.append(places[k])
        self._rows, self._reports = np.array(rows, np.int64), np.array(reports, np.int64)
        self.notes = [f"{len(rows):,} of the {self.listed:,} recordings that record_list.csv lists are used"]
        if short:
            self.notes.append(f"left out: {short:,} with a report of fewer than {min_words} words")
        if unknown:
            self.notes.append(f"left out: {unknown:,} that are not in machine_measurements.csv")
        if absent:
            self.notes.append(f"partial copy: {absent:,} recordings with a report are not here")
        if not rows:
            raise FileNotFoundError(
                f"{str(self._folder)!r} has no recording to use: {'; '.join(self.notes)}; {MIMIC_LAYOUT}"
            )

    def __len__(self):
        return len(self._rows)

    def __repr__(self):
        return f"<Pretraining {self.name}: {len(self):,} of {self.listed:,} recordings with reports>"

    def __getitem__(self, index):
        """Recording `index` as a `Record` with report and patient, read now."""
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise TypeError(f"index is {index!r}, expected a whole number")
        if not -len(self) <= index < len(self):
            raise IndexError(f"index is {index}, the data set has {len(self)} recordings")
        index = int(index) % len(self)
        return self._read(next(self._listed(slice(index, index + 1))))

    def __iter__(self):
        return map(self._read, self._listed(slice(None)))

    def recordings(self):
        """What a store is made of: paths with report and patient; under MERL's protocol Records."""
        return self._listed(slice(None)) if self.protocol == "default" else iter(self)

    def _listed(self, which):
        with open(self._records.path, "rb") as records, open(self._measured.path, "rb") as measured:
            rows = self._records.read(("subject_id", "path"), records, self._rows[which])
            reports = self._measured.read(self._columns, measured, self._reports[which])
            for (_, (subject, path)), (_, (_, *statements)) in zip(rows, reports, strict=True):
                yield Listed(str(self._folder / path), prepare_report(statements), subject)

    def _read(self, listed):
        from kmerl.record import read_record

        record = read_record(listed, leads="known")
        record.report, record.patient = listed.report, listed.patient
        return merl.prepared(record, stored=True) if self.protocol == "merl" else record


def _whole(text, column, table, place):
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError(f"{table.name}, at byte {place:,}: {column} is {shown(text)}, expected a whole number")
    return int(text)


def mimic_iv_ecg(path, min_words=4, *, protocol="default"):
    """MIMIC-IV-ECG [1]_ for pretraining, from a local folder, whole or in part.

    Reports are the statements report_0 to report_17 of machine_measurements.csv, prepared as MERL does
    (`kmerl.mimic.prepare_report`); recordings whose report has fewer than `min_words` words are left out: 771,693
    of 800,035 remain of the whole.

    Parameters
    ----------
    path : path
        The folder with record_list.csv and machine_measurements.csv.
    min_words : int
        0 keeps every recording.
    protocol : {"default", "merl"}
        ``merl``: recordings as MERL stores them (`kmerl.merl.prepared`), for a model with ``normalisation="none"``.

    Returns
    -------
    Pretraining
        For ``Store.create("store", source)``.

    Raises
    ------
    FileNotFoundError
        No such folder, not MIMIC-IV-ECG, or none of its recordings; the message says where to get it.
    ValueError
        A malformed table; another protocol.

    References
    ----------
    .. [1] Gow et al. 2023, "MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset", doi:10.13026/4nqg-sb35.
    """
    if isinstance(min_words, bool) or not isinstance(min_words, (int, np.integer)) or min_words < 0:
        raise ValueError(f"min_words is {min_words!r}, expected a whole number of 0 or more")
    merl.check_protocol(protocol)
    path = pathlib.Path(path)
    for file in ("record_list.csv", "machine_measurements.csv"):
        if not (path / file).is_file():
            raise FileNotFoundError(f"{str(path)!r} has no {file}; {MIMIC_LAYOUT}")
    return Pretraining(path, int(min_words), protocol)
