"""The C core against the same model in PyTorch: outputs, losses, each parameter's gradient, AdamW steps."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="make test-parity installs PyTorch")
sys.path.insert(0, str(Path(__file__).parent.parent))

import golden  # noqa: E402
import model_cases  # noqa: E402
import model_twin  # noqa: E402
from model_cases import OPTIONS, configuration, forward  # noqa: E402
from reference import Reference, pad  # noqa: E402

BUILDS = {"core": (torch.float32, 1e-4), "core64": (torch.float64, 1e-9)}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)  # small models: threads cost more than they give


@pytest.fixture(params=BUILDS)
def build(request):
    """The extension, PyTorch's number type, how far they may differ relative to a tensor's largest entry."""
    return request.getfixturevalue(request.param), *BUILDS[request.param]


def pair(core, dtype, config):
    """The model in C and in PyTorch, with the same parameters."""
    parameters, statistics = model_cases.parameters(config), model_cases.statistics(config)
    model = core.Model(config)
    real = core.build_info()["real"]
    model.set_parameters(model_cases.to_real(parameters, real))
    model.set_statistics(model_cases.to_real(statistics, real))
    return model, Reference(config, parameters, statistics, dtype)


def arrays(core, config, **kwargs):
    return model_cases.to_real(model_cases.batch(config, **kwargs), core.build_info()["real"])


def compare(got, expected, tolerance, what, scale=None):
    expected = np.asarray(expected.detach() if isinstance(expected, torch.Tensor) else expected, np.float64)
    got = np.asarray(got, np.float64)
    assert got.shape == expected.shape, what
    error = np.abs(got - expected).max() / max(np.abs(expected).max() if scale is None else scale, 1e-30)
    assert error < tolerance, f"{what}: relative error {error:.1e}, allowed {tolerance:.0e}"


def compare_gradients(gradients, weights, tolerance):
    expected = {name: np.zeros(x.shape) if x.grad is None else x.grad.numpy() for name, x in weights.items()}
    assert gradients.keys() == expected.keys()
    for name in expected:
        scale = golden.scale_of(name, lambda other: np.abs(expected[other]).max())
        compare(gradients[name], expected[name], tolerance, f"gradient of {name}", scale)


def compare_all(build, config, **kwargs):
    core, dtype, tolerance = build
    model, reference = pair(core, dtype, config)
    batch = arrays(core, config, **kwargs)
    padded = pad(batch, dtype)
    out, expected = forward(model, batch), reference.forward(padded)
    assert out.keys() == expected.keys()
    for name in out:
        compare(out[name], expected[name], tolerance, name)
    (losses, gradients), expected = model.loss_and_gradients(batch), reference.losses(padded)
    expected["total"].backward()
    for name in ("contrast", "unimodal", "query", "total"):
        if name == "total" or config[name + "_weight"]:
            compare(losses[name], expected[name], tolerance, name)
    compare_gradients(gradients, reference.weights, tolerance)


@pytest.mark.parametrize("option", OPTIONS)
def test_reference_agrees_with_the_numpy_twin(option):
    """The mathematics was written down twice, apart from the C code."""
    config = configuration(**OPTIONS[option])
    parameters, statistics, batch = (
        f(config) for f in (model_cases.parameters, model_cases.statistics, model_cases.batch)
    )
    reference, padded = Reference(config, parameters, statistics), pad(batch, torch.float64)
    out, expected = reference.forward(padded), model_twin.forward(config, parameters, statistics, batch)
    for name, x in out.items():
        compare(expected[name], x, 1e-11, name)
    losses, expected = reference.losses(padded), model_twin.losses(config, parameters, statistics, batch)
    for name, x in losses.items():
        compare(expected[name], x, 1e-11, name)


@pytest.mark.parametrize("option", OPTIONS)
def test_outputs_losses_and_gradients(build, option):
    compare_all(build, configuration(**OPTIONS[option]))


@pytest.mark.parametrize(
    "B, Q, leads",
    [(1, 1, (1,)), (1, 5, (12,)), (2, 1, (1, 12)), (3, 40, (12,)), (24, 30, (1, 2, 3))],
    ids=str,
)
def test_sizes_of_batches(build, B, Q, leads):
    """One recording (a batch normalised to its bias, the contrast 0), one query, all leads, more rows than a
    tile."""
    changes = {} if B > 1 else dict(projection_norm=model_cases.LAYER)
    compare_all(build, configuration(**changes), B=B, Q=Q, leads=leads)


def test_vit_tiny_with_the_defaults_of_the_specification(build):
    """Full size: 12 layers of width 192, four query layers, three visible leads of fifty segments."""
    config = dict(model_cases.DEFAULTS, text_width=48)
    compare_all(build, config, B=4, Q=20, leads=(1, 2, 3))


def test_merl_resnet_of_whole_recordings(build):
    """Full size: 5000 samples, 313 positions, projections of 256."""
    changes = dict(OPTIONS["resnet"], seconds=10.0, segment_samples=50, projection_width=256, text_width=48)
    compare_all(build, dict(model_cases.DEFAULTS, **changes), B=3, Q=2)


@pytest.mark.parametrize(
    "changes",
    [
        dict(weight_decay=0.1, lr=3e-3),
        dict(weight_decay=0.1, lr=3e-3, decay_all=0),
        dict(clip=0.5, lr=3e-3),
        dict(clip=1e6, lr=3e-3),
        dict(warmup_steps=4, lr=3e-3),
        dict(beta1=0.8, beta2=0.9, eps=1e-3, lr=3e-3),
        dict(learn_temperature=1, weight_decay=0.1, lr=3e-3),
        dict(contrast_weight=0.0, weight_decay=0.1, lr=3e-3),
        dict(OPTIONS["merl-vit"], weight_decay=0.1, lr=3e-3),
        dict(OPTIONS["resnet"], weight_decay=0.1, lr=1e-4),
        {},
    ],
    ids=str,
)
def test_ten_steps_of_adamw(build, changes):
    """The losses of ten steps on ten batches; in double the running statistics and the parameters too (in
    float AdamW makes a step of lr out of a gradient that is rounding alone, and eighteen layers of batch
    normalisation and ReLU over a few recordings enlarge it: ten times the tolerance)."""
    core, dtype, tolerance = build
    if changes.get("encoder") == OPTIONS["resnet"]["encoder"] and dtype == torch.float32:
        tolerance *= 10
    config = configuration(**changes)
    model, reference = pair(core, dtype, config)
    optimiser = core.Optimiser(model)
    batches = [arrays(core, config, name=f"step{step}") for step in range(10)]
    expected = reference.train([pad(batch, dtype) for batch in batches])
    for step, batch in enumerate(batches):
        losses = optimiser.step(batch, reference.lr(step, 10))
        for name in ("contrast", "unimodal", "query", "total"):
            if name == "total" or config[name + "_weight"]:
                compare(losses[name], expected[step][name], max(tolerance, 1e-8), f"{name} of step {step}")
    if core.build_info()["real"] == "float64":
        for name, x in model.parameters().items():
            compare(x, reference.weights[name], 1e-6, name)
        for name, x in model.statistics().items():
            if config["contrast_weight"]:  # without a contrast the projector is not computed
                compare(x, reference.statistics[name], 1e-7, name)


@pytest.mark.parametrize("name", golden.CONFIGS)
def test_golden_file_is_what_pytorch_computes(name):
    stored = json.loads(golden.GOLDEN.read_text())[name]
    fresh = json.loads(json.dumps(golden.results(golden.CONFIGS[name])))

    def same(a, b, where):
        if isinstance(a, dict):
            assert a.keys() == b.keys(), where
            for key in a:
                same(a[key], b[key], f"{where}.{key}")
        elif isinstance(a, list):
            assert len(a) == len(b), where
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                same(x, y, f"{where}[{i}]")
        else:
            assert a == pytest.approx(b, rel=1e-9, abs=1e-12), where

    same(stored, fresh, name)
