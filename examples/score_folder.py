"""Ask a model about every WFDB record below a folder; one line of CSV a record.

    python examples/score_folder.py CHECKPOINT FOLDER "atrial fibrillation" "st depression" > scores.csv

Records are read in chunks, so that the folder may be of any size. What cannot be read or answered is listed
on standard error with its reason, and the rest goes on. `kmerl predict` does the same for records named one
by one.
"""

import csv
import pathlib
import sys

import kmerl
from kmerl.scoring import answers

CHUNK = 64


def main(checkpoint, folder, *classes, out=sys.stdout):
    model = kmerl.load_model(checkpoint)

    def ask(records):
        return model.predict_proba(records, list(classes))

    paths = sorted(header.with_suffix("") for header in pathlib.Path(folder).rglob("*.hea"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no WFDB header (*.hea)")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["record", "leads", *classes])
    failed = 0
    for begin in range(0, len(paths), CHUNK):
        records = {}
        for path in paths[begin : begin + CHUNK]:
            try:
                records[path] = kmerl.read_record(path, leads="known")
            except (ValueError, OSError) as error:
                failed += 1
                print(f"{path}: {error}", file=sys.stderr)
        # One recording that cannot be answered (all leads flat, shorter than 0.2 s) does not spoil its chunk.
        for path, answer in answers(ask, records, len(classes)).items():
            if isinstance(answer, Exception):
                failed += 1
                print(f"{path}: {answer}", file=sys.stderr)
            else:
                writer.writerow([path, " ".join(records[path].leads), *(f"{p:.4f}" for p in answer)])
    return failed


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    sys.exit(1 if main(*sys.argv[1:]) else 0)
