"""Make kmerl/data/sample from PTB-XL: `python tools/make_sample.py FOLDER` (the folder of
ptbxl_database.csv).

About a hundred recordings are chosen so that common and rare findings all have positives, are divided by
patient into a training and a held-out part, and are packed without loss. The choice depends on nothing but
the table: the same folder gives the same files, byte for byte."""

import argparse
import ast
import csv
import io
import json
import pathlib
import shutil
import struct
import sys
import zipfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from kmerl.sample import decode, encode  # noqa: E402

TARGET = pathlib.Path(__file__).resolve().parent.parent / "kmerl" / "data" / "sample"
COUNT = 110
HELD_OUT = 0.3
WANTED = 12  # positives wanted of each code, as far as there are so many
AS_WFDB = ("00001_hr", "00330_hr")  # a normal ECG and atrial fibrillation, format 16
AS_MAT = ("00286_hr",)  # left bundle branch block, MATLAB v4 as in the PhysioNet Challenges


def read_table(folder):
    """The recordings whose 500 Hz signal is there, as dictionaries, by ecg_id."""
    with open(folder / "ptbxl_database.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (folder / (row["filename_hr"] + ".dat")).exists()]
    for row in rows:
        row["name"] = pathlib.PurePosixPath(row["filename_hr"]).name
        row["codes"] = ast.literal_eval(row["scp_codes"])
        row["patient"] = str(int(float(row["patient_id"])))
        row["noise"] = any(row[k].strip() for k in ("static_noise", "burst_noise", "electrodes_problems"))
    return sorted(rows, key=lambda row: int(row["ecg_id"]))


def choose(rows, count):
    """Greedy: always the recording whose codes are most wanting; clean ones and new patients first among
    equals."""
    frequency = {}
    for row in rows:
        for code in row["codes"]:
            frequency[code] = frequency.get(code, 0) + 1
    have = dict.fromkeys(frequency, 0)
    patients = set()

    def gain(row):
        need = sum(max(0, 1 - have[c] / min(frequency[c], WANTED)) for c in row["codes"])
        english = ". " in row["report"]
        return (need, not row["noise"], row["patient"] not in patients, english, -int(row["ecg_id"]))

    left = list(rows)
    chosen = []
    for name in AS_WFDB + AS_MAT:
        chosen.append(next(row for row in left if row["name"] == name))
    while len(chosen) < count:
        for row in chosen[-1:] if len(chosen) > len(AS_WFDB + AS_MAT) else chosen:
            left.remove(row)
            patients.add(row["patient"])
            for code in row["codes"]:
                have[code] += 1
        chosen.append(max(left, key=gain))
    return sorted(chosen, key=lambda row: int(row["ecg_id"]))


def divide(rows):
    """Patients to "train" or "heldout": rarest code first, each code as near to HELD_OUT as its patients
    allow."""
    patients = {}
    for row in rows:
        patients.setdefault(row["patient"], set()).update(row["codes"])
    carriers = {}
    for patient, codes in patients.items():
        for code in codes:
            carriers.setdefault(code, []).append(patient)
    part = {row["patient"]: "heldout" for row in rows if row["name"] in AS_WFDB + AS_MAT}
    for code in sorted(carriers, key=lambda code: (len(carriers[code]), code)):
        for patient in carriers[code]:
            if patient in part:
                continue
            given = [part[p] for p in carriers[code] if p in part]
            enough = given.count("heldout") + 0.5 >= HELD_OUT * (len(given) + 1)
            part[patient] = "train" if enough else "heldout"
    for row in rows:
        row["part"] = part[row["patient"]]


def write_zip(path, arrays):
    """Like numpy.savez_compressed, but at the highest level and always the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            info = zipfile.ZipInfo(name + ".npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data.getvalue(), compresslevel=9)


def write_mat(target, folder, row):
    """The recording as a Challenge pair: a MATLAB v4 matrix `val` (leads, samples) int16 and its header."""
    source = folder / row["filename_hr"]
    samples = np.fromfile(source.with_name(source.name + ".dat"), "<i2")
    leads = 12
    head = struct.pack("<5i", 30, leads, len(samples) // leads, 0, 4) + b"val\0"  # 30: int16, column-major
    (target / (row["name"] + ".mat")).write_bytes(head + samples.tobytes())
    lines = source.with_name(source.name + ".hea").read_text().split("\n")
    spelling = {"AVR": "aVR", "AVL": "aVL", "AVF": "aVF"}
    out = [lines[0].strip()]
    for line in lines[1 : leads + 1]:
        _, _, gain, bits, zero, first, checksum, block, lead = line.split()
        gain = gain.replace("1000.0(0)", "1000")
        lead = spelling.get(lead, lead)
        out.append(f"{row['name']}.mat 16+24 {gain} {bits} {zero} {first} {checksum} {block} {lead}")
    out += [f"#Age: {float(row['age']):.0f}", f"#Sex: {'Female' if row['sex'] == '1' else 'Male'}"]
    out += ["#Dx: " + ",".join(row["codes"])]
    (target / (row["name"] + ".hea")).write_text("\n".join(out) + "\n", newline="\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    rows = choose(read_table(folder), COUNT)
    divide(rows)

    packed = {}
    for row in rows:
        signal = np.fromfile(folder / (row["filename_hr"] + ".dat"), "<i2").reshape(-1, 12).T
        header = (folder / (row["filename_hr"] + ".hea")).read_text()
        assert header.count(" 1000.0(0)/mV ") == 12 and signal.shape == (12, 5000), row["name"]
        packed[row["name"]] = encode(signal)
        assert np.array_equal(decode(packed[row["name"]]), signal), row["name"]
    TARGET.mkdir(parents=True, exist_ok=True)
    write_zip(TARGET / "signals.npz", packed)

    with open(TARGET / "recordings.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["name", "patient", "age", "sex", "part", "scp_codes", "report"])
        for row in rows:
            age = f"{float(row['age']):.0f}" if row["age"] else ""
            sex = "female" if row["sex"] == "1" else "male"
            table.writerow(
                [row["name"], row["patient"], age, sex, row["part"], json.dumps(row["codes"]), row["report"]]
            )

    wfdb = TARGET / "wfdb"
    shutil.rmtree(wfdb, ignore_errors=True)
    wfdb.mkdir()
    for row in rows:
        if row["name"] in AS_WFDB:
            for ending in (".hea", ".dat"):
                shutil.copyfile(folder / (row["filename_hr"] + ending), wfdb / (row["name"] + ending))
        if row["name"] in AS_MAT:
            write_mat(wfdb, folder, row)

    codes = sorted({code for row in rows for code in row["codes"]})
    for part in ("train", "heldout"):
        print(part, sum(row["part"] == part for row in rows), "recordings")
        print("   ", {c: n for c in codes if (n := sum(c in r["codes"] for r in rows if r["part"] == part))})
    print(sum(f.stat().st_size for f in TARGET.rglob("*") if f.is_file()) / 1e6, "MB")


if __name__ == "__main__":
    main()
