"""Training as a whole: it does what it says step by step, it learns, it can be stopped and goes on bit for
bit."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import model_cases
import numpy as np
import pytest
from small import TINY, make_store
from test_metrics import philox_twin

import kmerl
from kmerl import _kmerl, safetensors

STREAM_ORDER = 5
STEPS_OF_EPOCH = 2  # of SMALL on the store below: 19 or so recordings to train on in batches of 8
SMALL = {**TINY, "epochs": 4, "threads": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("training") / "store", count=22)


def fit(store, out, max_steps=None, **changes):
    return kmerl.KMERL(**{**SMALL, **changes}).fit(store, out=out, max_steps=max_steps, progress=False)


def tensors(path):
    """{name: array} of a checkpoint: parameters, statistics, the optimiser's moments."""
    return {name: np.array(x) for name, x in safetensors.read(path)[0].items()}


def log(out, clock=False):
    """The lines of log.jsonl, without what depends on the clock."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{name: x for name, x in line.items() if clock or name != "samples_per_s"} for line in lines]


def assert_same_run(one, other):
    a, b = tensors(one / "last.safetensors"), tensors(other / "last.safetensors")
    assert a.keys() == b.keys()
    different = [name for name in a if a[name].tobytes() != b[name].tobytes()]
    assert not different
    assert log(one) == log(other)
    a, b = tensors(one / "best.safetensors"), tensors(other / "best.safetensors")
    assert all(a[name].tobytes() == b[name].tobytes() for name in a)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """The uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    fit(store, out)
    return out


# ------------------------------------------------------------------------------------------- what a step is


def order_of(epoch, seed, train, stream=STREAM_ORDER):
    """Fisher-Yates from the counter-based generator, as csrc/core/rng.h has it."""
    order = list(train)
    numbers = iter(philox_twin(seed, stream, epoch, 2 * len(order)))
    for i in range(len(order) - 1, 0, -1):
        number = next(numbers)
        while number < 2**32 % (i + 1):
            number = next(numbers)
        j = number % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(
            dropout=0.2,
            warmup_steps=3,
            clip=0.5,
            weight_decay=0.1,
            decay="matrices",
            learn_temperature=True,
            mask_duplicates=True,
        ),
    ],
    ids=["default", "options"],
)
def test_fit_is_a_loop_that_anyone_can_write(store, tmp_path, changes):
    """Order, masks, learning rate, AdamW and validation, put together from their parts: the same bits."""
    out = tmp_path / "run"
    model = fit(store, out, **changes)
    config = model.config_
    train, validation = store.split["train"], store.split["validation"]
    steps = len(train) // config.batch_size
    assert steps == STEPS_OF_EPOCH

    core = _kmerl.Model(config.to_core())
    core.initialize()
    optimiser, lines, total = _kmerl.Optimiser(core), [], steps * config.epochs
    for epoch in range(1, config.epochs + 1):
        order = order_of(epoch, config.seed, train)
        for i in range(steps):
            step, indices = (epoch - 1) * steps + i, order[8 * i : 8 * i + 8]
            warmup = config.warmup_steps
            share = (
                (step + 1) / warmup
                if step < warmup
                else 0.5 * (1 + np.cos(np.pi * (step - warmup) / (total - warmup)))
            )
            batch = kmerl.sample_batch(store, indices, seed=config.seed, epoch=epoch, config=config)
            losses = optimiser.step(batch.arrays(), config.lr * share, recordings=np.array(indices, np.int64))
            lines.append(
                dict(
                    step=step + 1,
                    epoch=epoch,
                    loss=losses["total"],
                    contrast=losses["contrast"],
                    query=losses["query"],
                    lr=config.lr * share,
                )
            )
        parts = [
            (
                len(part),
                core.losses(
                    kmerl.sample_batch(store, part, seed=config.seed, epoch=0, config=config).arrays()
                ),
            )
            for part in (validation[first : first + 8] for first in range(0, len(validation), 8))
        ]
        lines.append(
            dict(
                step=epoch * steps,
                epoch=epoch,
                val_loss=sum(n * losses["total"] for n, losses in parts) / len(validation),
            )
        )

    written = log(out)
    assert len(written) == len(lines)
    for got, expected in zip(written, lines, strict=True):
        for name, x in expected.items():
            assert got[name] == (pytest.approx(x, rel=1e-12) if name in ("lr", "val_loss") else x), (
                expected,
                name,
            )
    for got, expected in ((model.parameters(), core.parameters()), (model.statistics(), core.statistics())):
        assert got.keys() == expected.keys() and all((x == expected[name]).all() for name, x in got.items())


def test_the_log_has_what_is_promised(store, whole):
    lines = log(whole, clock=True)
    steps = [line for line in lines if "val_loss" not in line]
    assert [line["step"] for line in steps] == list(range(1, 4 * STEPS_OF_EPOCH + 1))
    for line in steps:
        assert {"step", "epoch", "loss", "contrast", "query", "samples_per_s"} <= line.keys()
        assert line["loss"] == pytest.approx(line["contrast"] + line["query"])
        assert line["samples_per_s"] > 0
    assert [line["step"] for line in lines if "val_loss" in line] == [2, 4, 6, 8]
    assert sorted(set(os.listdir(whole)) - {"lock"}) == [
        "best.safetensors",
        "config.json",
        "last.safetensors",
        "log.jsonl",
    ]


def test_best_is_the_lowest_validation_loss(store, tmp_path):
    """With a learning rate that ruins the model the first validation stays the best."""
    out = tmp_path / "run"
    fit(store, out, lr=0.3, epochs=3)
    losses = [line["val_loss"] for line in log(out) if "val_loss" in line]
    best = json.loads(safetensors.read(out / "best.safetensors")[1]["training"])
    assert best["best_val_loss"] == min(losses)
    assert best["best_step"] == STEPS_OF_EPOCH * (1 + int(np.argmin(losses)))
    config = kmerl.load_model(out / "best.safetensors").config_
    batch = kmerl.sample_batch(store, store.split["validation"], seed=config.seed, epoch=0, config=config)
    core = _kmerl.Model(config.to_core())
    values = tensors(out / "best.safetensors")
    core.set_parameters({name: values[name] for name in core.parameters()})
    core.set_statistics({name: values[name] for name in core.statistics()})
    assert core.losses(batch.arrays())["total"] == pytest.approx(min(losses), rel=1e-6)


@pytest.mark.parametrize("batch_size", [6, 11, 512])
def test_the_last_partial_batch_is_dropped_unless_it_is_the_only_one(store, batch_size):
    whole, rest = divmod(len(store.split["train"]), batch_size)
    assert rest
    model = fit(store, None, batch_size=batch_size, epochs=1)
    assert len([line for line in model.history_ if "val_loss" not in line]) == max(whole, 1)


@pytest.mark.parametrize(
    "changes, zero", [(dict(contrast_weight=0.0), "contrast"), (dict(query_weight=0.0), "query")]
)
def test_one_loss_alone(store, changes, zero):
    model = fit(store, None, epochs=1, **changes)
    for line in model.history_:
        if "val_loss" not in line:
            assert line[zero] == 0 and line["loss"] > 0
    if zero == "query":
        assert not any(name.startswith("query.") for name in model.parameters())
        return
    _, gradients = model.loss_and_gradients(kmerl.sample_batch(store, [0, 1, 2], config=model.config_))
    unused = [x for name, x in gradients.items() if "_projector." in name]
    assert unused and all((x == 0).all() for x in unused)


# -------------------------------------------------------------------------------------------------- it learns


def test_overfits_eight_recordings(tmp_path):
    """Eight reports told apart and their findings known by heart: both losses end near 0, their floor."""
    records = {record.report: record for record in kmerl.sample_records()}
    records = list(records.values())[:8]
    found = {
        finding.entity for findings in kmerl.extract(list(r.report for r in records)) for finding in findings
    }
    everything = kmerl.Vocabulary.default()
    vocabulary = everything.without([name for name in everything if name not in found])
    store = make_store(tmp_path / "store", records=records, vocabulary=vocabulary, validation=0)
    model = fit(
        store,
        None,
        epochs=200,
        lr=2e-3,
        masked_leads=(0,),
        segment_masking="none",
        segment_samples=1000,
        query_layers=1,
        query_width=128,
    )
    first, last = model.history_[0], model.history_[-1]
    assert first["contrast"] > 2 and first["query"] > 0.5
    assert last["contrast"] < 0.01 and last["query"] < 0.01
    batch = kmerl.sample_batch(store, range(8), config=model.config_)
    answers = model.forward(batch)
    assert ((answers.logits > 0) == (batch.labels > 0)).all()
    assert (np.argmax(answers.ecg @ answers.text.T, axis=1) == np.arange(8)).all()


# ----------------------------------------------------------------------------------- stopping, going on


@pytest.mark.parametrize("stops", [[1], [2], [3, 5], [1, 2, 3, 4, 5, 6, 7]], ids=str)
def test_resuming_gives_the_uninterrupted_run(store, whole, tmp_path, stops):
    """Stopped inside an epoch and at its end, before and after a validation."""
    out = tmp_path / "run"
    for stop in stops:
        fit(store, out, max_steps=stop)
    fit(store, out)
    assert_same_run(whole, out)


def test_resuming_with_dropout(store, tmp_path):
    fit(store, tmp_path / "whole", dropout=0.3)
    fit(store, tmp_path / "parts", dropout=0.3, max_steps=3)
    fit(store, tmp_path / "parts", dropout=0.3)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_is_left_as_it_is(store, whole):
    before = {
        path.name: path.read_bytes() for path in whole.iterdir() if path.name.endswith((".jsonl", ".json"))
    }
    values = tensors(whole / "last.safetensors")
    model = fit(store, whole)
    assert before == {
        path.name: path.read_bytes() for path in whole.iterdir() if path.name.endswith((".jsonl", ".json"))
    }
    assert all((x == values[name]).all() for name, x in model.parameters().items())


def test_threads_and_memory_change_no_bit(store, whole, tmp_path):
    for name, changes in (
        ("two", dict(threads=2)),
        ("three", dict(threads=3)),
        ("memory", dict(memory_mb=1)),
    ):
        fit(store, tmp_path / name, **changes)
        assert_same_run(whole, tmp_path / name)


def test_another_seed_is_another_run(store, whole, tmp_path):
    fit(store, tmp_path / "run", seed=2, max_steps=1)
    assert log(tmp_path / "run")[0]["loss"] != log(whole)[0]["loss"]


def test_resuming_from_a_folder_whose_log_was_cut_off(store, whole, tmp_path):
    """A kill in the middle of a line, lines ahead of the checkpoint: what is not part of the state goes."""
    out = tmp_path / "run"
    fit(store, out, max_steps=3)
    with open(out / "log.jsonl", "a") as file:
        file.write(json.dumps(dict(log(whole)[4], samples_per_s=1.0)) + "\n" + '{"step": 5, "lo')
    fit(store, out)
    assert_same_run(whole, out)


def test_ctrl_c_leaves_a_usable_checkpoint(store, whole, tmp_path):
    """KeyboardInterrupt comes out, the checkpoint answers, and the run goes on to the same bits and the same
    log."""
    out = tmp_path / "run"

    def interrupt():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (out / "log.jsonl").exists() and len((out / "log.jsonl").read_bytes().splitlines()) >= 2:
                return os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.0005)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(store, out)
            thread.join()  # the run was faster than the interrupt: let it come out here
    finally:
        thread.join()
    model = kmerl.load_model(out / "last.safetensors")
    p = model.predict_proba(kmerl.sample_records("heldout")[0], ["atrial fibrillation"])
    assert p.shape == (1,) and 0 <= p[0] <= 1
    fit(store, out)
    assert_same_run(whole, out)


def test_a_killed_run_goes_on(store, whole, tmp_path):
    """SIGKILL at any moment, several times: from the last checkpoint to the same bits."""
    out = tmp_path / "run"
    script = textwrap.dedent("""
        import sys
        import kmerl
        config = eval(sys.argv[3])
        kmerl.KMERL(**config).fit(kmerl.Store.open(sys.argv[1]), out=sys.argv[2], progress=False)
    """)
    for lines in (1, 4, 7):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(store.path), str(out), repr(SMALL)],
            cwd=os.path.dirname(os.path.dirname(kmerl.__file__)),
        )
        while process.poll() is None:
            if (out / "log.jsonl").exists() and len((out / "log.jsonl").read_bytes().splitlines()) >= lines:
                process.kill()
            time.sleep(0.001)
        process.wait()
    fit(store, out)
    assert_same_run(whole, out)


# ------------------------------------------------------------------------------------- the loop of one's own


def test_public_functions_are_the_core_s(store):
    """model.forward and loss_and_gradients of a kmerl.Batch, against the same calls of the core."""
    model = kmerl.KMERL(**SMALL).initialize(text_dim=24)
    batch = kmerl.sample_batch(store, [3, 1, 4], seed=1, epoch=2, config=model.config_)
    core = _kmerl.Model(model.config_.to_core())
    core.initialize()
    assert all((x == model.parameters()[name]).all() for name, x in core.parameters().items())
    out, expected = model.forward(batch), model_cases.forward(core, batch.arrays())
    for name in ("logits", "ecg", "text", "features"):
        assert (getattr(out, name) == expected[name]).all(), name
    (losses, gradients), (a, b) = model.loss_and_gradients(batch), core.loss_and_gradients(batch.arrays())
    assert all(losses[name] == a[name] for name in ("contrast", "query", "total"))
    assert gradients.keys() == b.keys() and all((x == b[name]).all() for name, x in gradients.items())


def test_the_defaults_are_those_of_the_specification():
    """SPEC 1 to 7 written down a second time in model_cases.DEFAULTS; the preset changes what SPEC 7 says."""
    config = kmerl.Config().to_core(text_width=768)
    assert {**config, "masked_leads": tuple(config["masked_leads"])} == model_cases.DEFAULTS
    assert config["width"] == kmerl.KMERL(size="tiny").initialize(text_dim=8).config_.width
    paper = kmerl.KMERL(preset="paper").initialize(text_dim=768).config_.to_core()
    assert {name for name in config if config[name] != paper[name]} == {
        "normalisation",
        "normalisation_scope",
        "dropout",
    }
    assert paper["dropout"] == 0.1


@pytest.mark.parametrize(
    "size, width, heads, mlp",
    [("tiny", 192, 3, 768), ("small", 384, 6, 1536), ("middle", 512, 8, 2048), ("base", 768, 12, 3072)],
)
def test_sizes(size, width, heads, mlp):
    config = kmerl.Config(size=size)
    assert (config.width, config.depth, config.heads, config.mlp_width) == (width, 12, heads, mlp)
