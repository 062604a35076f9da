"""precision="bf16": the products of the model in bfloat16, all else as in float32.

tests/test_gemm.py has the products themselves, bit by bit. Here: each operation made of them, the whole model,
training, and the same bits whatever the threads, the batch and the instruction set.
"""

import hashlib
import os
import subprocess
import sys

import kmerl._kmerl as extension
import model_cases
import numpy as np
import pytest
import twins
from cases import CASES, GRADIENTS, arguments
from operations import Operations
from small import TINY, make_store
from test_model import batch_for, build, configuration, forward, relative_error, subset

import kmerl

PRODUCTS = ("linear_forward", "tokens_forward", "attention_forward", "attention_weights")
ROUNDING = 2.0**-8      # of a factor, relative


class Bf16Operations(Operations):
    """The operations of the table with bfloat16 products."""

    def __init__(self, core):
        super().__init__(core, bf16=True)


@pytest.fixture(scope="module")
def operations(core):
    return Bf16Operations(core)


def close(got, expected, where):
    """To the rounding of factors of size 1: a share of the largest entry."""
    for x, y in zip(got, expected, strict=True):
        if y is None:
            continue
        size = max(np.abs(y).max(), 1.0)
        assert np.abs(x - y).max() < 8 * ROUNDING * size, f"{where}: {np.abs(x - y).max() / size:.1e}"


@pytest.mark.parametrize("case", [case for case in CASES if case.operation in PRODUCTS], ids=str)
def test_operations_agree_with_their_twins_to_rounding(operations, case):
    given = arguments(case, operations.real)
    wide = {name: x.astype(np.float64) if getattr(x, "dtype", None) == operations.real else x
            for name, x in given.items()}
    got, expected = (getattr(side, case.operation)(**values) for side, values in ((operations, given), (twins, wide)))
    got, expected = (x if isinstance(x, tuple) else (x,) for x in (got, expected))
    close(got, expected, case)
    if case.operation not in GRADIENTS:
        return
    rule = GRADIENTS[case.operation]
    dy = np.random.default_rng(0).standard_normal(got[0].shape, np.float32)
    known = dict(M=50)
    ours = [dy] + [{**given, **known}[name] for name in rule.takes]
    theirs = [dy.astype(np.float64)] + [{**wide, **known}[name] for name in rule.takes]
    close(getattr(operations, rule.backward)(*ours), getattr(twins, rule.backward)(*theirs), f"gradient of {case}")


def test_only_the_products_differ(core):
    float32, bf16 = core.operations(), core.operations(True)
    changed = {name for name in float32 if float32[name] != bf16[name]}
    assert changed == {"gemm", "linear_forward", "linear_backward", "packed_size", "packed_weight", "packed_forward",
                       "packed_backward", "tokens_forward", "tokens_backward",
                       "attention_scratch", "attention_forward", "attention_backward", "attention_weights",
                       "conv_scratch", "conv_forward", "conv_backward"}


def test_the_model_agrees_with_float32_to_rounding(core):
    config = configuration()
    batch = batch_for(core, config)
    wide, narrow = build(core, config), build(core, dict(config, precision=1))
    exact, rounded = forward(wide, batch), forward(narrow, batch)
    for name in ("logits", "ecg", "text", "features"):
        assert relative_error(rounded[name], exact[name]) < 0.02, name
    assert (rounded["logits"] != exact["logits"]).any()
    assert (rounded["text"] == exact["text"]).all(), "the projectors are float32"
    (losses, gradients), (losses16, gradients16) = (model.loss_and_gradients(batch) for model in (wide, narrow))
    for name in ("contrast", "query", "total"):
        assert losses16[name] == pytest.approx(losses[name], rel=0.01)
    size = np.sqrt(sum((x.astype(np.float64) ** 2).sum() for x in gradients.values()))
    for name, x in gradients.items():
        error = np.linalg.norm(gradients16[name] - x)
        assert error < 0.3 * np.linalg.norm(x) + 1e-5 * size, f"{name}: {error / np.linalg.norm(x):.3f}"


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_threads_do_not_change_a_bit(core, dropout):
    config = configuration(precision=1, dropout=dropout)
    batch, results = batch_for(core, config, B=13), []
    for threads in (1, 2, 3, 8):
        losses, gradients = build(core, config).loss_and_gradients(batch, threads=threads)
        results.append((losses, {name: x.tobytes() for name, x in gradients.items()}))
    assert all(result == results[0] for result in results)


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(core):
    config = configuration(precision=1, width=128, heads=2)
    model, batch = build(core, config), batch_for(core, config, B=9)
    together = forward(model, batch)
    for group in ([[b] for b in range(9)] + [[8, 0, 3], list(range(8, -1, -1))]):
        alone = forward(model, subset(batch, group))
        for name in ("logits", "ecg", "text", "features"):
            assert (alone[name] == together[name][group]).all(), f"{name} of {group}"


DIGEST = """
import hashlib, sys
sys.path[:0] = [{tests!r}]
import kmerl._kmerl as core
from test_model import batch_for, build, configuration
config = configuration(precision=1)
_, gradients = build(core, config).loss_and_gradients(batch_for(core, config))
print(core.build_info()["isa"], hashlib.sha256(b"".join(x.tobytes() for x in gradients.values())).hexdigest())
"""


@pytest.mark.skipif("avx2" not in extension.gemm_kernels(), reason="only one instruction set here")
def test_every_instruction_set_gives_the_same_gradients(core):
    found = {}
    for isa in extension.gemm_kernels(True):
        code = DIGEST.format(tests=os.path.dirname(__file__))
        path = os.pathsep.join([os.path.dirname(os.path.dirname(kmerl.__file__)), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "KMERL_ISA": isa, "PYTHONPATH": path})
        assert done.returncode == 0, done.stderr
        used, found[isa] = done.stdout.split()
        assert used == isa
    del found["plain"]      # its float32 products, in the projectors, round twice
    assert len(set(found.values())) == 1, found


def test_training_on_the_sample_ends_within_a_hundredth_of_float32(tmp_path):
    store = make_store(tmp_path / "store", 40)
    losses, digests = {}, {}
    for precision in ("float32", "bf16", "bf16 again"):
        model = kmerl.KMERL(**{**TINY, "epochs": 6, "lr": 2e-4}, precision=precision.split()[0])
        model.fit(store, out=tmp_path / precision, progress=False)
        losses[precision] = [line["val_loss"] for line in model.history_ if "val_loss" in line][-1]
        digests[precision] = hashlib.sha256(b"".join(x.tobytes() for x in model.parameters().values())).hexdigest()
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.01) and losses["bf16"] != losses["float32"]
    assert digests["bf16"] == digests["bf16 again"]


def test_a_checkpoint_keeps_its_precision_and_can_be_read_in_another(tmp_path):
    model = kmerl.KMERL(**TINY, precision="bf16").initialize(text_dim=24)
    model.save(tmp_path / "model.safetensors")
    record = kmerl.read_record(kmerl.sample_path("00330_hr"))
    again = kmerl.load_model(tmp_path / "model.safetensors")
    assert again.config_.precision == "bf16"
    wide = kmerl.load_model(tmp_path / "model.safetensors", precision="float32")
    assert wide.config_.precision == "float32" and wide.get_params()["precision"] == "float32"
    features = [m.encode(record) for m in (model, again, wide)]
    assert (features[0] == features[1]).all()
    assert 0 < relative_error(features[2], features[0]) < 0.02
    with pytest.raises(ValueError, match="precision must be one of 'float32', 'bf16'"):
        kmerl.load_model(tmp_path / "model.safetensors", precision="fp8")


def test_defaults_of_the_core_are_float32():
    assert model_cases.DEFAULTS["precision"] == 0 and kmerl.Config().precision == "float32"
