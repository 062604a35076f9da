"""Labelling speed: reports of up to 18 statements a second, from cold, on one core.

    python benchmarks/bench_extract.py [--reports 800000] [--text FOLDER]

The reports are drawn from the lines of FOLDER/machine_statements.txt (../shared/data/text where that is
there), else from the statements of the sample's reports; the same reports every time. From cold: reading and
compiling the vocabulary and the phrases counts. The labels are made in blocks, as a store makes them.
"""

import argparse
import os
import pathlib
import random
import time

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "text"
BLOCK = 8192


def statements(folder):
    path = folder / "machine_statements.txt"
    if path.is_file():
        return path.name, path.read_text(encoding="utf-8").splitlines()
    import kmerl

    reports = [record.report for record in kmerl.sample_records()]
    readings = kmerl.extract(reports, details=True)
    found = {r[slice(*s.span)] for r, one in zip(reports, readings, strict=True) for s in one.statements}
    return "the sample's reports", sorted(found)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=800_000)
    parser.add_argument(
        "--text", type=pathlib.Path, default=FOLDER, help="folder with machine_statements.txt"
    )
    arguments = parser.parse_args()

    source, lines = statements(arguments.text)
    rng = random.Random(0)
    reports = [". ".join(rng.choices(lines, k=rng.randint(1, 18))) for _ in range(arguments.reports)]
    characters = sum(map(len, reports))

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    start, busy = time.perf_counter(), time.process_time()
    from kmerl import extraction, phrases
    from kmerl.vocabulary import Vocabulary, _default

    for cached in (_default, phrases._default):
        cached.cache_clear()
    extraction._lexicons.clear()
    vocabulary = Vocabulary.default()
    extraction.lexicon(vocabulary)
    ready = time.perf_counter()
    positive = 0
    for block in range(0, len(reports), BLOCK):
        positive += int(extraction.label_matrix(reports[block : block + BLOCK], vocabulary).sum())
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(
        f"{len(reports):,} reports of 1 to 18 statements from {source}, {characters / 1e6:.0f} M characters"
    )
    print(f"vocabulary compiled in {ready - start:.2f} s")
    print(
        f"labelled in {seconds:.1f} s from cold on one core ({busy:.1f} s of its time): {len(reports) / seconds:,.0f} reports/s, "
        f"{characters / seconds / 1e6:.0f} M characters/s, {positive / len(reports):.1f} labels a report"
    )


if __name__ == "__main__":
    main()
