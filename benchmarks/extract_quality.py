"""How well the lexicon reads reports: the figures of docs/entities.md, with the errors.

    python benchmarks/extract_quality.py [--data ../shared/data] [--errors CODE] [--picture labels.png]

1. Against PTB-XL's SCP codes, every code with at least 30 positives whose entity the vocabulary has. An
   entity counts as found where it is asserted. "text": the code says what the text says, the two can be
   compared. "second reading": many codes were given or changed by a second reader who saw the tracing; where
   text and code differ there, the text says otherwise (read the cases with --errors CODE).
2. Machine statements by kind, the unmatched ones listed.
3. The gold statements of tests/data.
4. How often each entity is asserted in the reports, and which occur together (a picture with --picture).
"""

import argparse
import ast
import csv
import pathlib
import sys

import numpy as np

import kmerl
from kmerl.extraction import label_matrix

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = ("SR AFIB STACH SBRAD SARRH SVARR PVC LPR VCLVH ABQRS QWAVE STD_").split()
REASONS = {
    "NORM": "given from the tracing, in texts that say nothing of it or less",
    "PAC": "German supraventricular extrasystoles have no code",
    "CRBBB": "half of the text's RBBB became IRBBB, IVCD became CRBBB",
    "IRBBB": "as CRBBB",
    "CLBBB": "IVCD in the text became CLBBB",
    "ILBBB": "from the tracing",
    "IVCD": "became BBB or LAFB",
    "LAFB": "added to left axis deviation",
    "LPFB": "added to right axis deviation",
    "1AVB": "half of the German texts' first degree block lost its code",
    "LVH": "from the tracing (Sokolow index)",
    "IMI": "likelihood below 100 in many, hedged in the text",
    "ASMI": "became of anterior infarcts and damage",
    "AMI": "as ASMI",
    "INVT": "coded in English texts alone",
    "LOWT": "coded in English texts alone",
    "LVOLT": "coded in some texts alone",
    "NDT": "given for every repolarisation disturbance",
    "NT_": "coded beside NDT in English texts alone",
    "NST_": "given from the tracing",
    "LNGQT": "German texts' QT prolongation has no code",
    "LAO/LAE": "half of the texts' codes were dropped",
}


def reports(data):
    rows = []
    for path in (data / "text" / "ptbxl_reports.csv", data / "ptbxl" / "ptbxl_database.csv"):
        with open(path, encoding="utf-8", newline="") as file:
            rows += [(row["report"], ast.literal_eval(row["scp_codes"])) for row in csv.DictReader(file)]
    return rows


def scores(found, coded):
    both = int((found & coded).sum())
    precision = both / max(int(found.sum()), 1)
    recall = both / max(int(coded.sum()), 1)
    return precision, recall, 2 * precision * recall / max(precision + recall, 1e-9)


def against_codes(data, vocabulary, shown):
    rows = reports(data)
    findings = kmerl.extract([text for text, _ in rows], vocabulary)
    asserted = [{f.entity for f in found if f.status == "asserted"} for found in findings]
    table = []
    for entity in vocabulary.entities:
        for code in entity.codes.get("scp", ()):
            coded = np.array([code in codes for _, codes in rows])
            found = np.array([entity.name in names for names in asserted])
            if coded.sum() >= 30:
                table.append((code, entity.name, int(coded.sum()), *scores(found, coded)))
            if code == shown:
                for title, which in (
                    ("asserted, not coded", found & ~coded),
                    ("coded, not asserted", coded & ~found),
                ):
                    print(f"\n{code}: {title}: {which.sum()}")
                    for i in np.flatnonzero(which)[:50]:
                        print("   ", " ".join(rows[i][0].split()))
    print(f"\nPTB-XL: {len(rows)} reports\n")
    print(f"{'code':8} {'entity':48} {'n':>5} {'prec.':>6} {'recall':>6} {'F1':>6}")
    for kind in ("text", "second reading"):
        block = sorted(
            (row for row in table if (row[0] in TEXT) == (kind == "text")), key=lambda row: -row[2]
        )
        print(f"-- {kind}")
        for code, name, n, precision, recall, f1 in block:
            reason = "" if kind == "text" else REASONS.get(code, "")
            print(f"{code:8} {name:48} {n:5} {precision:6.3f} {recall:6.3f} {f1:6.3f}  {reason}".rstrip())
        print(f"{'':8} {'macro':48} {'':5} {'':6} {'':6} {np.mean([row[5] for row in block]):6.3f}")


def statements(data, vocabulary):
    lines = (data / "text" / "machine_statements.txt").read_text(encoding="utf-8").splitlines()
    kinds = {"clinical": 0, "technical": 0, "unmatched": 0}
    unmatched = []
    for line, reading in zip(lines, kmerl.extract(lines, vocabulary, details=True), strict=True):
        here = {statement.kind for statement in reading.statements}
        kinds[next((kind for kind in kinds if kind in here), "technical")] += 1
        if "unmatched" in here:
            unmatched.append(line)
    print(f"\nMachine statements: {len(lines)}: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()))
    print(f"with an unmatched part: {len(unmatched)} ({100 * len(unmatched) / len(lines):.2f} %)")
    for line in unmatched:
        print("   ", line)


def gold(vocabulary):
    sys.path.insert(0, str(ROOT / "tests"))
    from test_extract import gold as judgements
    from test_extract import verdict

    judged = list(judgements())
    wrong = {status: [0, 0] for status in ("asserted", "negated", "hedged", "absent", "technical")}
    readings = kmerl.extract([text for text, _, _ in judged], details=True)
    for reading, (text, name, expected) in zip(readings, judged, strict=True):
        got = verdict(reading, name and vocabulary[name].name)
        wrong[expected][0] += 1
        wrong[expected][1] += got != expected
        if got != expected:
            print(f"    {text!r}: {name} is {got}, read as {expected}")
    print(
        "\nGold statements, judgements and errors: "
        + ", ".join(f"{kind} {n} / {bad}" for kind, (n, bad) in wrong.items())
    )


def prevalence(data, vocabulary, picture):
    rows = reports(data)
    labels = label_matrix([text for text, _ in rows], vocabulary)
    counts = labels.sum(axis=0, dtype=np.int64)
    names = np.array(list(vocabulary))
    order = np.argsort(-counts, kind="stable")
    print(f"\nEntities asserted in {len(rows)} reports: {int((counts > 0).sum())} of {len(names)}")
    for i in order[:60]:
        print(f"    {counts[i]:6} {100 * counts[i] / len(rows):5.1f} %  {names[i]}")
    if picture:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        top = order[:40]
        part = labels[:, top].astype(np.float64)
        together = (part.T @ part) / np.maximum(part.sum(axis=0), 1)[:, None]
        figure, axes = plt.subplots(figsize=(12, 11))
        image = axes.imshow(together, cmap="viridis", vmin=0, vmax=1)
        axes.set_xticks(range(len(top)), names[top], rotation=90, fontsize=7)
        axes.set_yticks(range(len(top)), names[top], fontsize=7)
        axes.set_title("Of the reports with the row's entity, the share that has the column's")
        figure.colorbar(image, shrink=0.8)
        figure.savefig(picture, bbox_inches="tight", dpi=120)
        print(f"co-occurrence picture: {picture}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--errors", metavar="CODE", help="show the reports where text and code differ")
    parser.add_argument("--picture", metavar="PNG", help="draw which entities occur together")
    arguments = parser.parse_args()
    vocabulary = kmerl.Vocabulary.default()
    if not (arguments.data / "text").is_dir():
        sys.exit(
            f"{arguments.data}: no folder text with ptbxl_reports.csv and machine_statements.txt; "
            "name the data with --data"
        )
    against_codes(arguments.data, vocabulary, arguments.errors)
    statements(arguments.data, vocabulary)
    gold(vocabulary)
    prevalence(arguments.data, vocabulary, arguments.picture)


if __name__ == "__main__":
    main()
