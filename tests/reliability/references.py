"""Does a call keep what it made or was given? ``python tests/reliability/references.py [CALLS]``

Each public call that enters the core, right ones and refused ones, in a loop: blocks of Python's allocator
(``sys.getallocatedblocks``), traced bytes (``tracemalloc``) and the reference counts of what was given, before and
after. In a debug Python the sum of all reference counts (``sys.gettotalrefcount``) is printed beside them; it means
something only where NumPy was built for debugging too. Every function and method of the core must be called by one of
them. ``--once`` runs each call a few times and compares nothing more: for valgrind (memcheck.py). Names of calls, or
how they begin, choose those.
"""

import gc
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from small import TINY, HashEncoder, make_store  # noqa: E402

import kmerl  # noqa: E402
from kmerl import _kmerl  # noqa: E402


def refused(call):
    def run():
        try:
            call()
        except (ValueError, TypeError, LookupError, OSError, RuntimeError):
            return
        raise AssertionError("bad input was taken")

    return run


def calls(folder):
    """{name: call}, and the objects whose references are counted."""
    embeddings = kmerl.sample_embeddings()
    model = kmerl.KMERL(**{**TINY, "threads": 1}).initialize(embeddings.width)
    model.text_encoder = embeddings
    store = make_store(folder / "store", 8)
    small = kmerl.KMERL(**{**TINY, "threads": 1}).initialize(store.embeddings.width)
    batch = kmerl.sample_batch(store, range(4))
    records = store[:2]
    x, y, p = np.ones((2, 800), np.float32) * np.sin(np.arange(800)), np.arange(40) % 2, np.linspace(0, 1, 40)
    classes, path = ["sinus rhythm", "atrial fibrillation"], kmerl.sample_path("00330_hr")
    signal = [np.sin(np.arange(700, dtype=np.float32))[None]]
    vocabulary, parameters = kmerl.Vocabulary.default(), small.parameters()
    features = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    from kmerl.probe import OPTIMISER

    probe = dict(seeds=np.array([0], np.uint64), epochs=2, batch_size=8, lr=1e-3, threads=1, **OPTIMISER)
    labels = np.stack([y, 1 - y], 1).astype(np.uint8)
    few = (features[:4], labels[:4])
    given = [model, small, store, batch, records, x, y, p, classes, signal, vocabulary, parameters, features, labels,
             model._core, small._core, np.float32, *parameters.values(), *batch.arrays().values(), *probe.values()]

    def stop(event):
        raise ValueError("stop")

    index, nobody = np.arange(4, dtype=np.int64), np.zeros(0, np.int64)
    corpus = kmerl.batch._core_corpus(store.corpus())

    def train(hook):
        _kmerl.Trainer(small._core, corpus, index, index, threads=1).run(2, hook)

    def fine_tune():
        trainer = _kmerl.Trainer(small._core, corpus, index, nobody, threads=1, classes=store.labels.shape[1])
        state = trainer.state()
        trainer.set_state(step=0, validated=0, m=state["m"], v=state["v"])
        trainer.set_head(*trainer.head())
        trainer.run(1, lambda event: None)

    simulator = kmerl.Simulator(seed=3, seconds=2, epoch_size=8, validation_size=2).embed(HashEncoder())
    centred = kmerl.KMERL(**TINY, query_init="centred")
    queries = np.ascontiguousarray(store.embeddings.queries[:9], np.float32)

    def fit_simulated():
        kmerl.KMERL(**{**TINY, "threads": 1, "seconds": 2}).fit(simulator, max_steps=1, progress=False)

    sizes = dict(vocabulary=9, positions=8, types=2, width=8, layers=1, heads=2, mlp_width=8, pooler=True, eps=1e-12)
    weights = {name: np.ones(shape, np.float32) for name, shape in _kmerl.text_weights(**sizes).items()}
    text = _kmerl.Text(weights, **sizes)
    tokens, offset = np.array([1, 2, 3], np.int32), np.array([0, 3], np.int32)
    with open(path + ".hea", "rb") as file:
        header = file.read()
    gaps = np.where(np.arange(800) % 9, x, np.nan).astype(np.float32)
    weight, bias = np.ones((2, 8), np.float32), np.zeros(2, np.float32)
    room = np.empty(200_000, np.int16)
    given += [corpus, index, queries, simulator, tokens, offset, gaps, weight, bias, room, text, *weights.values()]

    table = {
        "read_record": lambda: kmerl.read_record(path),
        "read_record, no file": refused(lambda: kmerl.read_record(path + "x")),
        "predict_proba": lambda: model.predict_proba(records, classes),
        "predict_proba, details": lambda: model.predict_proba(records, classes, details=True, method="both"),
        "predict_proba, array": lambda: model.predict_proba(x, classes, leads=["I", "II"], fs=500),
        "predict_proba, bad lead": refused(lambda: model.predict_proba(x, classes, leads=["I", "X"], fs=500)),
        "predict_proba, too short": refused(lambda: model.predict_proba(x[:, :9], classes, leads=["I", "II"], fs=500)),
        "predict_proba, unknown class": refused(lambda: model.predict_proba(records, ["no such"])),
        "encode": lambda: model.encode(records),
        "attend": lambda: model.attend(records[0], classes),
        "forward": lambda: small.forward(batch),
        "loss_and_gradients": lambda: small.loss_and_gradients(batch),
        "parameters": lambda: small.parameters(),
        "set_parameters": lambda: small.set_parameters(parameters),
        "set_parameters, core, bad": refused(lambda: small._core.set_parameters({"w": x})),
        "initialize": lambda: kmerl.KMERL(**TINY).initialize(24),
        "config, core, bad": refused(lambda: _kmerl.Model({"width": 3})),
        "train": lambda: train(lambda event: None),
        "train, hook fails": refused(lambda: train(stop)),
        "sample_batch": lambda: kmerl.sample_batch(store, [1, 2, 3], seed=5),
        "sample_batch, bad": refused(lambda: kmerl.sample_batch(store, [100])),
        "extract": lambda: kmerl.extract(["Vorhofflimmern. Kein Hinweis auf Infarkt", ""], details=True),
        "extract, bad": refused(lambda: kmerl.extract([3])),
        "metrics": lambda: (kmerl.metrics.roc_auc_score(y, p), kmerl.metrics.average_precision_score(y, p)),
        "bootstrap": lambda: kmerl.metrics.bootstrap(y, p, n=20, threads=1),
        "metrics, bad": refused(lambda: kmerl.metrics.roc_auc_score(y, p[:3])),
        "simulate": lambda: kmerl.simulate(1, seed=3, seconds=2),
        "simulate, bad": refused(lambda: kmerl.simulate(1, findings=["no such"])),
        "resample": lambda: _kmerl.resample(signal[0], 500.0, 360.0),
        "store[i]": lambda: store[3],
        "save, load": lambda: (model.save(folder / "m"), kmerl.load_model(folder / "m")),
        "initialize, core": lambda: small._core.initialize(),
        "centre_queries": lambda: centred.initialize(store.embeddings.width, queries),
        "losses": lambda: small._core.losses(batch.arrays()),
        "step": lambda: _kmerl.Optimiser(small._core).step(batch.arrays(), 1e-5),
        "step, bad": refused(lambda: _kmerl.Optimiser(small._core).step({"patches": x}, 1e-5)),
        "fine-tuning": fine_tune,
        "fit, simulated": fit_simulated,
        "text encoder": lambda: (_kmerl.Text(weights, **sizes), text.forward(tokens, offset, "mean", 1)),
        "text encoder, bad": refused(lambda: (_kmerl.Text({"w": x}, **sizes))),
        "text encoder, bad tokens": refused(lambda: text.forward(tokens + 9, offset, "mean", 1)),
        "labels": lambda: store.label(progress=False),
        "wfdb_header": lambda: _kmerl.wfdb_header(header, None),
        "wfdb_header, bad": refused(lambda: _kmerl.wfdb_header(b"no header", None)),
        "wfdb_pack": lambda: _kmerl.wfdb_pack([path.encode() + b".hea", b"none.hea"], -1.0, True, room),
        "pack": lambda: _kmerl.pack(gaps, np.array([0, 1], np.int32)),
        "repair, normalise": lambda: _kmerl.normalise(_kmerl.repair(gaps)[0], 1),
        "merl_signal": lambda: _kmerl.merl_signal(gaps, 700, 5000, True),
        "masks": lambda: (_kmerl.mask_leads(4095, (1 / 12,) * 12, 1, 2, 3), _kmerl.mask_segments(50, 0.25, 1, 2, 3, 4)),
        "nearest": lambda: _kmerl.nearest(features, features[:3]),
        "probe_apply": lambda: _kmerl.probe_apply(features, weight, bias),
        "probe_apply, bad": refused(lambda: _kmerl.probe_apply(features, weight[:, :3], bias)),
        "curves": lambda: (kmerl.metrics.roc_curve(y, p), kmerl.metrics.calibration_curve(y, p)),
        "threshold": lambda: kmerl.metrics.f1_threshold(y, p),
        "paired_bootstrap": lambda: kmerl.metrics.paired_bootstrap(y, p, p[::-1], n=20, threads=1),
        "mean_bootstrap": lambda: kmerl.metrics.mean_bootstrap([(y, p, None)], n=20, threads=1),
        "tables of the core": lambda: (_kmerl.lead_orders(), _kmerl.simulate_names(), _kmerl.gemm_kernels(),
                                       _kmerl.operations(), _kmerl.text_weights(**sizes)),
        "probe": lambda: _kmerl.probe_fit(features, labels, *few, features[:0], labels[:0], hook=lambda n: 0, **probe),
        "probe, hook fails": refused(lambda: _kmerl.probe_fit(features, labels, *few, features[:0], labels[:0],
                                                              hook=stop, **probe)),
    }
    return table, given


def unreached(table):
    """Functions and methods of the core that no call of the table comes to."""
    reached = set()

    def note(frame, event, function):
        if event == "c_call":
            owner = function.__self__
            reached.add(("" if owner is _kmerl else type(owner).__name__) + "." + function.__name__)

    sys.setprofile(note)
    try:
        for call in table.values():
            call()
    finally:
        sys.setprofile(None)
    there = {"." + name for name, one in vars(_kmerl).items() if callable(one) and not isinstance(one, type)}
    for name, kind in vars(_kmerl).items():
        if isinstance(kind, type):
            there |= {f"{name}.{method}" for method, one in vars(kind).items() if callable(one) and method[:2] != "__"}
    return sorted(there - reached)


def measured(call, count, given):
    """Growth a call of blocks and bytes, and which of `given` gained references; twice `count` calls."""
    for _ in range(5):
        call()
    total = getattr(sys, "gettotalrefcount", lambda: 0)
    counts = np.empty(len(given), np.int64)     # made before, so that it is no growth

    def references():
        return [sys.getrefcount(one) for one in given]

    gc.collect()
    counts[:] = references()
    tracemalloc.start()
    for _ in range(2):       # caches fill in the first; what grows in the second grows at every call
        gc.collect()
        blocks, traced, sums = sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0], total()
        for _ in range(count):
            call()
    gc.collect()
    blocks, traced, sums = sys.getallocatedblocks() - blocks, tracemalloc.get_traced_memory()[0] - traced, total() - sums
    tracemalloc.stop()
    gained = [type(one).__name__ for one, before, now in zip(given, counts, references(), strict=True)
              if now - before >= count]
    return blocks / count, traced / count, sums / count, gained


def main(count, once, names=()):
    faults = []     # SQLite keeps up to 200 used cursors, Python its own caches: that much may grow, however many calls
    with tempfile.TemporaryDirectory() as folder:
        table, given = calls(Path(folder))
        if names:
            table = {name: call for name, call in table.items() if name.startswith(tuple(names))}
            if not table:
                raise SystemExit(f"references: no call's name begins with {' or '.join(map(repr, names))}")
        elif missed := unreached(table):
            faults.append(f"no call comes to {', '.join(missed)}")
        for name, call in table.items():
            if once:
                call(), call()
                continue
            for _ in range(2):      # Python's table of interned strings doubles, by 1 MB, within one; a leak is in both
                blocks, traced, sums, gained = measured(call, count, given)
                faulty = blocks > 0.5 + 100 / count or traced > 64 + 20_000 / count or gained
                if not faulty:
                    break
            extra = f", {sums:+.2f} references" if hasattr(sys, "gettotalrefcount") else ""
            if faulty:
                faults.append(f"{name}: {blocks:+.2f} blocks, {traced:+.0f} bytes a call{extra}, kept: {gained}")
    print(f"references: {len(table)} calls, each {2 if once else 2 * count} times" + ("" if once else
          f"; {len(faults)} keep something" + extra))
    if faults:
        raise SystemExit("references: " + "\n".join(faults))


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    names = [argument for argument in sys.argv[1:] if not argument.isdigit() and argument != "--once"]
    main(numbers[0] if numbers else 100, "--once" in sys.argv, names)
