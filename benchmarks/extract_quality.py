"""How well the lexicon reads reports: the figures of docs/entities.md, with the errors.

    python benchmarks/extract_quality.py [--data ../shared/data] [--errors CODE]

1. Against PTB-XL's SCP codes, every code with at least 30 positives whose entity the vocabulary has. An
   entity counts as found where it is asserted. Three blocks:
   "text": PTB-XL's form and rhythm statements, which were derived from the text, in the languages in which
   the code is given for its plain words. Whether it is, is counted with the words of PLAIN, not with kmerl.
   "not coded": the same codes in the other languages: the text says it, the code is missing.
   "second reading": diagnostic statements, graded by people who saw the tracing; where text and code
   differ there, the text says otherwise (read the cases with --errors CODE).
2. Machine statements by kind, the unmatched ones listed.
3. The gold statements of tests/data.
4. How often each entity is asserted in the reports. (Of a store: Store.prevalence, kmerl.plot_cooccurrence.)
"""

import argparse
import ast
import csv
import pathlib
import re
import sys
from collections import Counter

import numpy as np

import kmerl
from kmerl.extraction import label_matrix

ROOT = pathlib.Path(__file__).resolve().parents[1]
# PTB-XL's form and rhythm statements that are not diagnostic ones too (its scp_statements.csv), with at least
# 30 positives here, and the plain words that stand for them.
PLAIN = {
    "SR": r"sinus ?(rh?yth?m|rytm)",
    "AFIB": r"atrial fibrillation|vorhofflimmern|f.rmaksflimmer",
    "STACH": r"sinus ?ta(ch|k)y[ck]ardi",
    "SBRAD": r"sinus ?brady[ck]ardi",
    "SARRH": r"sinus ?arr?h?yth?mi",
    "SVARR": r"supraventri[ck]ul.r\w* (arrhythmi|arytmi)",
    "PVC": r"(?<!supra)ventrikul.re? extrasystole|premature ventricular|ventrikul.r\(a\) extrasyst|\bves\b",
    "PAC": r"premature atrial|supraventrikul.re? extrasystole|supraventrikul.r\(a\) extrasyst|\bsves\b|vorhof-?es",
    "ABQRS": r"qrs\(t\)",
    "VCLVH": r"amplitudenkriterien|amplitudkriterier|voltages are high",
    "QWAVE": r"\bq(-?zacken?| waves?| in\b)",
    "LPR": r"prolonged pr|pr interval is (\w+ )?prolonged|pq-?(zeit|verl.ng)",
    "STD_": r"st[- ]?senkung|st segments? (are |is )?(\w+ )?depress|st-t s.nkning",
    "LOWT": r"t waves? (are |is )?(\w+ )?(low|flat)|t[- ](abgeflacht|abflachung|flach)|flache? t",
    "INVT": r"t waves? (are |is )?(\w+ )?inver|t[- ]neg|negatives? t",
    "NT_": r"non-?specific t wave|unspezifische?s? abnorm\w* t|ospecifik t",
    "LVOLT": r"low (limb lead )?voltage|niederspannung|niedervoltage|l.ga qrs",
}
LANGUAGES = {
    "Swedish": r"sinusrytm|el-axel|f.rmaks|f.rlopp|s.som vid|sk.nkelblock|takykardi|bradykardi\b|sinus ?arytmi",
    "English": r"\b(rhythm|the|with|of|waves?|fibrillation|normal ecg|requested)\b",
}
REASONS = {
    "NORM": "given or taken away from the tracing: beside damage and infarcts in the text, and 'trace only requested'",
    "CRBBB": "half of the text's RBBB became IRBBB, IVCD became CRBBB",
    "IRBBB": "as CRBBB",
    "CLBBB": "IVCD and even RBBB in the text became CLBBB, LBBB became IVCD or ILBBB",
    "IVCD": "became BBB, LAFB or LVH",
    "LAFB": "added to left axis deviation",
    "LPFB": "added to right axis deviation",
    "1AVB": "English 'prolonged PR' became 1AVB; half of the German texts' first degree block lost its code",
    "LVH": "given for voltage alone or from the tracing (Sokolow index)",
    "IMI": "became ILMI; codes of 15 to 50 and of 100 for hedged and unnamed infarcts",
    "ASMI": "anterior infarcts of the text became ASMI, damage and 'tiny r waves' too",
    "AMI": "the text's anterior infarcts became ASMI",
    "ALMI": "sum of two regions of the text, or of hedged ones",
    "LMI": "as ALMI; lateral became IPLMI, ILMI, ALMI",
    "ILMI": "the text says inferior, the code adds lateral",
    "NDT": "given for every repolarisation disturbance, taken from half of the English ones",
    "NST_": "given from the tracing, in texts that name ST depression, T waves or nothing",
    "DIG": "hedged in the text ('likely to be due to ... digitalis effect')",
    "LNGQT": "five of six QT prolongations of the text lost their code, some English ones became EL",
    "LAO/LAE": "six of seven German P-sinistrocardiale lost their code; given in hedged or silent texts",
    "ISC_": "hedged in the text ('may be due to lv strain or ischaemia'), coded with LVH; asserted ones became NDT",
    "ISCAL": "hedged in the text, or leads and T waves without the word ischaemia",
    "ISCIL": "as ISCAL",
    "ISCAS": "as ISCAL",
    "ISCLA": "as ISCAL",
    "INJAS": "from the tracing: the text says hedged ischaemia or infarct; its 'Myokardschaden' became ASMI",
    "INJAL": "as INJAS",
    "EL": "always hedged in the text ('may be due to a drug effect or an electrolyte disturbance')",
}


def language(report):
    """English, Swedish or German, by its commonest words."""
    return next((name for name, words in LANGUAGES.items() if re.search(words, report.lower())), "German")


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
    spoken = np.array([language(text) for text, _ in rows])
    findings = kmerl.extract([text for text, _ in rows], vocabulary)
    asserted = [{f.entity for f in found if f.status == "asserted"} for found in findings]
    tables = {"text": [], "not coded": [], "second reading": []}
    for entity in vocabulary.entities:
        for code in entity.codes.get("scp", ()):
            coded = np.array([code in codes for _, codes in rows])
            found = np.array([entity.name in names for names in asserted])
            if code == shown:
                for title, which in (
                    ("asserted, not coded", found & ~coded),
                    ("coded, not asserted", coded & ~found),
                ):
                    print(f"\n{code}: {title}: {which.sum()}")
                    for i in np.flatnonzero(which)[:50]:
                        print("   ", " ".join(rows[i][0].split()))
            if coded.sum() < 30:
                continue
            if code not in PLAIN:
                tables["second reading"].append(
                    (code, entity.name, int(coded.sum()), *scores(found, coded), REASONS.get(code, ""))
                )
                continue
            plain = np.array([re.search(PLAIN[code], text.lower()) is not None for text, _ in rows])
            used, without = [], []
            for name in ("German", "English", "Swedish"):
                here = plain & (spoken == name)
                if here.any():
                    share = f"{name} {int((here & coded).sum())}/{int(here.sum())}"
                    (used if 2 * (here & coded).sum() >= here.sum() else without).append((name, share))
            for kind, names in (("text", used), ("not coded", without)):
                here = np.isin(spoken, [name for name, _ in names])
                note = "coded / plain words: " + ", ".join(share for _, share in names)
                if names:
                    row = (code, entity.name, int(coded[here].sum()), *scores(found[here], coded[here]), note)
                    tables[kind].append(row)
    print(f"\nPTB-XL: {len(rows)} reports: " + ", ".join(f"{n} {k}" for k, n in Counter(spoken.tolist()).items()))
    print(f"\n{'code':8} {'entity':48} {'n':>5} {'prec.':>6} {'recall':>6} {'F1':>6}")
    for kind, block in tables.items():
        print(f"-- {kind}")
        for code, name, n, precision, recall, f1, note in sorted(block, key=lambda row: -row[2]):
            print(f"{code:8} {name:48} {n:5} {precision:6.3f} {recall:6.3f} {f1:6.3f}  {note}".rstrip())
        if kind != "not coded":
            means = [np.mean([row[i] for row in block]) for i in (3, 4, 5)]
            print(f"{'':8} {'macro':48} {'':5} " + " ".join(f"{mean:6.3f}" for mean in means))


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


def prevalence(data, vocabulary):
    rows = reports(data)
    labels = label_matrix([text for text, _ in rows], vocabulary)
    counts = labels.sum(axis=0, dtype=np.int64)
    names = np.array(list(vocabulary))
    order = np.argsort(-counts, kind="stable")
    print(f"\nEntities asserted in {len(rows)} reports: {int((counts > 0).sum())} of {len(names)}")
    for i in order[:60]:
        print(f"    {counts[i]:6} {100 * counts[i] / len(rows):5.1f} %  {names[i]}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--errors", metavar="CODE", help="show the reports where text and code differ")
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
    prevalence(arguments.data, vocabulary)


if __name__ == "__main__":
    main()
