"""The whole model of the C core: against its NumPy twin, differences of its loss, a golden file, and by its
properties.

The twin is tests/model_twin.py, the configurations are those of tests/model_cases.py. PyTorch's word on the
gradients is in tests/parity.
"""

import functools
import json
from pathlib import Path

import model_cases
import model_twin
import numpy as np
import pytest
from model_cases import LAYER, OPTIONS, configuration, forward, to_real

GOLDEN = Path(__file__).parent / "golden" / "model.json"


def relative_error(got, expected):
    """The largest difference, over the largest entry."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape
    return np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30)


def real_of(core):
    return np.dtype(core.build_info()["real"])


def build(core, config, parameters=None):
    model = core.Model(config)
    model.set_parameters(to_real(parameters or model_cases.parameters(config), real_of(core)))
    model.set_statistics(to_real(model_cases.statistics(config), real_of(core)))
    return model


def batch_for(core, config, **kwargs):
    return to_real(model_cases.batch(config, **kwargs), real_of(core))


@pytest.fixture(params=["core", "core64"])
def either(request):
    """The float and the double build."""
    return request.getfixturevalue(request.param)


def subset(batch, recordings):
    """The batch of some recordings, in the order given."""
    spans = [np.arange(batch["offset"][b], batch["offset"][b + 1]) for b in recordings]
    tokens = np.concatenate(spans)
    offset = np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int32)
    return dict(
        batch,
        offset=offset,
        **{name: batch[name][tokens] for name in ("patches", "lead", "segment")},
        **{name: batch[name][list(recordings)] for name in ("report", "report_id", "labels")},
    )


# ---------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("option", OPTIONS)
def test_parameters_are_those_of_the_specification(core, option):
    config = configuration(**OPTIONS[option])
    model = core.Model(config)
    model.initialize()
    shapes = {name: x.shape for name, x in model.parameters().items()}
    assert shapes == {name: x.shape for name, x in model_cases.parameters(config).items()}
    shapes = {name: x.shape for name, x in model.statistics().items()}
    assert shapes == {name: x.shape for name, x in model_cases.statistics(config).items()}


def test_tiny_has_about_5_4_million_parameters(core):
    model = core.Model(configuration(seconds=10.0, width=192, depth=12, heads=3, mlp_width=768))
    count = sum(x.size for name, x in model.parameters().items() if name.startswith("encoder."))
    assert 5.3e6 < count < 5.5e6


def test_initial_values(core):
    """SPEC 3: weights truncated N(0, 0.02), biases 0; SPEC 2: embeddings N(0, 0.02)."""
    config = configuration(width=128, heads=2, learn_temperature=1)
    model = core.Model(config)
    model.initialize()
    for name, x in model.parameters().items():
        x = x.astype(np.float64)
        if name == "contrast.log_scale":
            assert x[0] == pytest.approx(np.log(1 / 0.07), rel=1e-6)
        elif name.endswith((".lead", ".temporal")):
            assert abs(x.std() - 0.02) < 4 * 0.02 / np.sqrt(2 * x.size)
            assert np.abs(x).max() > 0.04, "an embedding's normal distribution is not truncated"
        elif x.ndim == 2:
            spread = 0.02 * 0.8796  # of a normal cut off at two deviations
            assert np.abs(x).max() <= 0.02 * 2.0001
            assert abs(x.std() - spread) < 5 * spread / np.sqrt(2 * x.size)
            assert abs(x.mean()) < 5 * spread / np.sqrt(x.size)
        else:
            assert (x == (1 if "norm" in name and name.endswith(".weight") else 0)).all(), name
    for name, x in model.statistics().items():
        assert (x == (1 if name.endswith("var") else 0)).all(), name


def test_initial_values_are_a_function_of_the_seed(core):
    def initial(seed):
        model = core.Model(configuration(seed=seed))
        model.initialize()
        return model.parameters()

    one, again, two = initial(1), initial(1), initial(2)
    matrices = [name for name, x in one.items() if x.ndim == 2]
    assert all((one[name] == again[name]).all() for name in one)
    assert all((one[name] != two[name]).any() for name in matrices)
    values = np.concatenate([one[name].ravel() for name in matrices])
    assert len(np.unique(values)) > 0.9 * len(values), "parameters share their random numbers"


def test_parameters_are_copies_and_come_back_as_set(either):
    config = configuration()
    model = build(either, config)
    given = to_real(model_cases.parameters(config), real_of(either))
    for name, x in model.parameters().items():
        assert x.dtype == real_of(either) and (x == given[name]).all(), name
        x[...] = 0
    assert all((x == given[name]).all() for name, x in model.parameters().items())
    given = to_real(model_cases.statistics(config), real_of(either))
    assert all((x == given[name]).all() for name, x in model.statistics().items())


# ------------------------------------------------------------------------------------- against the NumPy twin


@functools.cache
def twin(option):
    """Outputs and losses of the NumPy twin."""
    config = configuration(**OPTIONS[option])
    given = config, model_cases.parameters(config), model_cases.statistics(config), model_cases.batch(config)
    return model_twin.forward(*given), model_twin.losses(*given)


@pytest.mark.parametrize("option", OPTIONS)
def test_forward_agrees_with_twin(either, option):
    config = configuration(**OPTIONS[option])
    batch = batch_for(either, config)
    out, expected = forward(build(either, config), batch), twin(option)[0]
    assert out.keys() == expected.keys() - {"attention"}
    for name in out:
        error = relative_error(out[name], expected[name])
        assert error < (1e-4 if real_of(either) == np.float32 else 1e-11), f"{name}: {error:.1e}"


@pytest.mark.parametrize("option", OPTIONS)
def test_losses_agree_with_twin(either, option):
    config = configuration(**OPTIONS[option])
    losses, _ = build(either, config).loss_and_gradients(batch_for(either, config))
    expected = twin(option)[1]
    for name in ("contrast", "unimodal", "query", "total"):
        if name == "total" or config[name + "_weight"]:
            error = relative_error(losses[name], expected[name])
            assert error < (1e-5 if real_of(either) == np.float32 else 1e-11), f"{name}: {error:.1e}"


# ----------------------------------------------------------------------------------------------- its gradient


def directional(model, parameters, batch, direction, h, **keywords):
    """(total(p + h u) - total(p - h u)) / 2h to fourth order, through the core's own loss."""

    def total(step):
        model.set_parameters(
            {name: x + step * direction[name] if name in direction else x for name, x in parameters.items()}
        )
        return model.loss_and_gradients(batch, **keywords)[0]["total"]

    slope = (8 * (total(h) - total(-h)) - (total(2 * h) - total(-2 * h))) / (12 * h)
    model.set_parameters(parameters)
    return slope


@pytest.mark.parametrize("option", OPTIONS)
def test_gradient_along_a_random_direction(core64, option):
    config = configuration(**OPTIONS[option])
    parameters = model_cases.smooth_parameters(config)
    model = build(core64, config, parameters)
    batch = batch_for(core64, config)
    _, gradients = model.loss_and_gradients(batch)
    rng = np.random.default_rng(1)
    direction = {name: rng.standard_normal(x.shape) / np.sqrt(x.size) for name, x in parameters.items()}
    expected = sum((gradients[name] * direction[name]).sum() for name in parameters)
    size = np.sqrt(sum((gradients[name] ** 2).sum() * (direction[name] ** 2).mean() for name in parameters))
    assert abs(directional(model, parameters, batch, direction, 1e-4) - expected) < 1e-8 * size


def test_gradient_of_each_parameter_along_a_random_direction(core64):
    config = configuration(learn_temperature=1)
    parameters = model_cases.smooth_parameters(config)
    model = build(core64, config, parameters)
    batch = batch_for(core64, config)
    _, gradients = model.loss_and_gradients(batch)
    assert gradients.keys() == parameters.keys()
    rng = np.random.default_rng(2)
    for name, gradient in gradients.items():
        direction = {name: rng.standard_normal(gradient.shape) / np.sqrt(gradient.size)}
        error = abs(
            directional(model, parameters, batch, direction, 1e-3) - (gradient * direction[name]).sum()
        )
        assert error < 1e-8 * max(np.linalg.norm(gradient) / np.sqrt(gradient.size), 1e-2), (
            f"{name}: {error:.1e}"
        )


def test_gradient_with_dropout(core64):
    """The masks are a function of (seed, step, recordings): the loss stays differentiable."""
    config = configuration(dropout=0.3, seed=3)
    parameters = model_cases.smooth_parameters(config)
    model = build(core64, config, parameters)
    batch = batch_for(core64, config)
    keywords = dict(step=4, recordings=np.array([10, 11, 12, 13, 14, 2**40], np.int64))
    _, gradients = model.loss_and_gradients(batch, **keywords)
    rng = np.random.default_rng(3)
    direction = {name: rng.standard_normal(x.shape) / np.sqrt(x.size) for name, x in parameters.items()}
    expected = sum((gradients[name] * direction[name]).sum() for name in parameters)
    size = np.sqrt(sum((gradients[name] ** 2).sum() * (direction[name] ** 2).mean() for name in parameters))
    assert abs(directional(model, parameters, batch, direction, 1e-4, **keywords) - expected) < 1e-8 * size


def test_gradient_with_dropout_on_the_unimodal_maps(core64):
    config = configuration(**dict(OPTIONS["merl-vit"], unimodal_dropout=0.4))
    parameters = model_cases.smooth_parameters(config)
    model = build(core64, config, parameters)
    batch = batch_for(core64, config)
    losses, gradients = model.loss_and_gradients(batch, step=4)
    plain = build(core64, dict(config, unimodal_dropout=0.0), parameters).loss_and_gradients(batch)[0]
    assert losses["contrast"] == plain["contrast"] and losses["unimodal"] != plain["unimodal"]
    assert losses["unimodal"] != model.loss_and_gradients(batch, step=5)[0]["unimodal"]
    assert losses["unimodal"] != model.loss_and_gradients(batch, step=4, recordings=np.arange(6) + 9)[0]["unimodal"]
    rng = np.random.default_rng(3)
    direction = {name: rng.standard_normal(x.shape) / np.sqrt(x.size) for name, x in parameters.items()}
    expected = sum((gradients[name] * direction[name]).sum() for name in parameters)
    size = np.sqrt(sum((gradients[name] ** 2).sum() * (direction[name] ** 2).mean() for name in parameters))
    assert abs(directional(model, parameters, batch, direction, 1e-4, step=4) - expected) < 1e-8 * size


def test_evaluation_losses_are_without_dropout(either):
    """... and the features' bits do not depend on it."""
    config = configuration(**dict(OPTIONS["merl-vit"], projection_norm=LAYER))
    batch = batch_for(either, config)
    dropping = build(either, dict(config, unimodal_dropout=0.4)).losses(batch)
    assert dropping == build(either, config).losses(batch)
    training = build(either, config).loss_and_gradients(batch)[0]
    for name in ("contrast", "unimodal", "total"):      # layer norm: nothing else tells the two modes apart
        assert dropping[name] == pytest.approx(training[name], rel=1e-4)


def test_loss_and_gradients_change_nothing(either):
    config = configuration()
    model, batch = build(either, config), batch_for(either, config)
    before = [
        {name: x.tobytes() for name, x in values.items()}
        for values in (model.parameters(), model.statistics())
    ]
    copies = {name: x.tobytes() for name, x in batch.items()}
    first, second = model.loss_and_gradients(batch), model.loss_and_gradients(batch)
    assert first[0] == second[0]
    assert all((first[1][name] == second[1][name]).all() for name in first[1])
    after = [
        {name: x.tobytes() for name, x in values.items()}
        for values in (model.parameters(), model.statistics())
    ]
    assert before == after
    assert copies == {name: x.tobytes() for name, x in batch.items()}


# ------------------------------------------------------------------------------------------------ properties


def same_bits(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_lead_order_never_matters(core64):
    """Tokens are a set: each recording's in another order."""
    config = configuration()
    model, batch = build(core64, config), batch_for(core64, config)
    rng = np.random.default_rng(4)
    order = np.concatenate(
        [
            rng.permutation(np.arange(start, stop))
            for start, stop in zip(batch["offset"][:-1], batch["offset"][1:], strict=True)
        ]
    )
    shuffled = dict(
        batch, **{name: np.ascontiguousarray(batch[name][order]) for name in ("patches", "lead", "segment")}
    )
    for name, x in forward(model, batch).items():
        if name in ("logits", "ecg", "text", "features"):
            assert relative_error(forward(model, shuffled)[name], x) < 1e-12, name
    (a, da), (b, db) = model.loss_and_gradients(batch), model.loss_and_gradients(shuffled)
    assert a["total"] == pytest.approx(b["total"], rel=1e-12)
    assert all(np.abs(da[name] - db[name]).max() < 1e-11 for name in da)


@pytest.mark.parametrize("embedding, name", [("lead_embedding", "lead"), ("temporal_embedding", "segment")])
def test_lead_names_and_times_matter(core64, embedding, name):
    """... through their embedding, and through nothing else."""
    for present in (1, 0):
        config = configuration(**{embedding: present})
        model, batch = build(core64, config), batch_for(core64, config)
        renamed = dict(batch, **{name: (batch[name] + 1) % (12 if name == "lead" else 10)})
        renamed[name] = renamed[name].astype(np.int32)
        changed = np.abs(forward(model, batch)["logits"] - forward(model, renamed)["logits"]).max()
        assert (changed > 1e-4) if present else (changed == 0)


def test_swapping_the_signals_of_two_leads_matters(core64):
    config = configuration()
    model, batch = build(core64, config), batch_for(core64, config, leads=(2,))
    swapped = dict(batch, lead=batch["lead"].copy())
    for start, stop in zip(batch["offset"][:-1], batch["offset"][1:], strict=True):
        lead = batch["lead"][start:stop]
        one, other = np.unique(lead)
        swapped["lead"][start:stop] = np.where(lead == one, other, one)
    assert np.abs(forward(model, batch)["logits"] - forward(model, swapped)["logits"]).max() > 1e-4


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(either):
    """Bit for bit: alone, in another order, among others."""
    config = configuration(width=128, heads=2)
    model, batch = build(either, config), batch_for(either, config, B=9)
    together = forward(model, batch)
    groups = [[b] for b in range(9)] + [[8, 0, 3], [5, 5, 2, 1], list(range(8, -1, -1))]
    for group in groups:
        alone = forward(model, subset(batch, group))
        for name in ("logits", "ecg", "text", "features"):
            assert (alone[name] == together[name][group]).all(), f"{name} of {group}"


def test_an_answer_does_not_depend_on_spans_lanes_or_memory(either):
    batch, answers = batch_for(either, configuration()), []
    for changes in (
        dict(),
        dict(span_tokens=1),
        dict(span_tokens=100_000, span_recordings=1000),
        dict(lanes=1),
        dict(lanes=7),
        dict(memory_mb=1),
    ):
        config = configuration(**changes)
        answers.append(
            {
                name: x
                for name, x in forward(build(either, config), batch).items()
                if name in ("logits", "ecg", "text", "features")
            }
        )
    assert all(same_bits(answers[0], answer) for answer in answers)


def test_class_order_never_matters(core64):
    config = configuration()
    model, batch = build(core64, config), batch_for(core64, config, Q=11)
    order = np.random.default_rng(5).permutation(11)
    permuted = dict(
        batch, entities=batch["entities"][order], labels=np.ascontiguousarray(batch["labels"][:, order])
    )
    assert (
        relative_error(forward(model, permuted)["logits"], forward(model, batch)["logits"][:, order]) < 1e-12
    )
    (a, da), (b, db) = model.loss_and_gradients(batch), model.loss_and_gradients(permuted)
    assert a["total"] == pytest.approx(b["total"], rel=1e-12)
    assert all(np.abs(da[name] - db[name]).max() < 1e-11 for name in da)


def test_resnet_sees_recordings_apart_in_evaluation_and_together_in_training(core64):
    config = configuration(**OPTIONS["resnet"])
    model, batch = build(core64, config), batch_for(core64, config, B=7)
    together = forward(model, batch)
    for group in ([3], [6, 0, 2], [5, 5], list(range(6, -1, -1))):
        alone = forward(model, subset(batch, group))
        for name in ("ecg", "text", "features"):
            assert (alone[name] == together[name][group]).all(), f"{name} of {group}"
    start, stop = batch["offset"][2:4]
    other = dict(batch, patches=batch["patches"].copy())
    other["patches"][start:stop] *= -1
    assert (forward(model, other)["features"] == together["features"]).all(1).tolist() == [True] * 2 + [False] + [True] * 4
    assert model.loss_and_gradients(batch)[0] != model.loss_and_gradients(other)[0]


def test_resnet_pads_with_zeros(core64):
    """Segments that a batch leaves out are segments of zeros: a shorter recording, or a masked one."""
    config = configuration(**OPTIONS["resnet"])
    model, batch = build(core64, config), batch_for(core64, config)
    M, P = round(config["fs"] * config["seconds"]) // config["segment_samples"], config["segment_samples"]
    whole = dict(
        batch,
        patches=np.zeros((6 * M, 12 * P)),
        lead=np.zeros(6 * M, np.int32),
        segment=np.tile(np.arange(M, dtype=np.int32), 6),
        offset=M * np.arange(7, dtype=np.int32),
    )
    for b in range(6):
        for t in range(batch["offset"][b], batch["offset"][b + 1]):
            whole["patches"][b * M + batch["segment"][t]] = batch["patches"][t]
    assert same_bits(forward(model, whole), forward(model, batch))
    (a, da), (b, db) = model.loss_and_gradients(whole), model.loss_and_gradients(batch)
    assert a == b and same_bits(da, db)


def test_resnet_running_statistics_follow_the_batch(core64):
    config = configuration(**OPTIONS["resnet"])
    model, batch = build(core64, config), batch_for(core64, config)
    before = model.statistics()
    core64.Optimiser(model).step(batch, 0.0)
    x = model_twin.signals(config, batch)
    p = model_cases.parameters(config)
    out = np.concatenate([model_twin.twins.conv_forward(one, p["encoder.stem.weight"], 2) for one in x])
    after = model.statistics()
    for name, value in (("mean", out.mean(0)), ("var", out.var(0, ddof=1))):
        name = f"encoder.stem.norm.running_{name}"
        assert relative_error(after[name], 0.9 * before[name] + 0.1 * value) < 1e-12
    assert all((after[name] != before[name]).any() for name in before)


@pytest.mark.parametrize("isolated", [0, 1])
def test_other_classes_matter_unless_queries_are_isolated(core64, isolated):
    config = configuration(isolate_queries=isolated)
    model, batch = build(core64, config), batch_for(core64, config)
    together = forward(model, batch)["logits"]
    alone = np.concatenate(
        [
            forward(
                model,
                dict(
                    batch,
                    entities=batch["entities"][i : i + 1],
                    labels=np.ascontiguousarray(batch["labels"][:, i : i + 1]),
                ),
            )["logits"]
            for i in range(len(batch["entities"]))
        ],
        axis=1,
    )
    difference = np.abs(alone - together).max()
    assert (difference < 1e-12) if isolated else (difference > 1e-4)


def test_packed_recordings_do_not_see_each_other(core64):
    """Another recording in one place leaves the other answers as they are, and changes its own."""
    config = configuration()
    model, batch = build(core64, config), batch_for(core64, config)
    start, stop = batch["offset"][2:4]
    other = dict(batch, patches=batch["patches"].copy())
    other["patches"][start:stop] *= -1
    same = (forward(model, batch)["logits"] == forward(model, other)["logits"]).all(1)
    assert list(same) == [True, True, False, True, True, True]


def test_a_masked_token_equals_an_absent_one(core64):
    """All tokens computed and the masked ones hidden from attention and mean (in NumPy) equal the packed
    rest."""
    config = configuration()
    p, batch = model_cases.parameters(config), model_cases.batch(config, B=1, leads=(3,))
    masked = model_cases.uniform("masked", (len(batch["lead"]),)) > 0.2
    masked[0] = False

    def attend_visible(q, k, v):
        return attend(q, k[~masked], v[~masked])

    attend, model_twin.attend = model_twin.attend, attend_visible
    try:
        z_e = model_twin.encode(config, p, batch["patches"], batch["lead"], batch["segment"])
    finally:
        model_twin.attend = attend
    rest = np.flatnonzero(~masked)
    packed = dict(
        batch,
        offset=np.array([0, len(rest)], np.int32),
        **{name: batch[name][rest] for name in ("patches", "lead", "segment")},
    )
    assert relative_error(forward(build(core64, config), packed)["features"][0], z_e[~masked].mean(0)) < 1e-12


MODELS = {
    "kmerl": dict(dropout=0.2, lanes=5, span_recordings=3),
    "merl-vit": dict(OPTIONS["merl-vit"], unimodal_dropout=0.2, lanes=5),
    "resnet": dict(OPTIONS["resnet"], unimodal_dropout=0.2, lanes=5),
}


@pytest.mark.parametrize("kind", MODELS)
def test_threads_change_no_bit(either, kind):
    """Spans go to lanes by their number, not by the thread that takes them."""
    config = configuration(**MODELS[kind])
    batch = batch_for(either, config, B=24)
    model = build(either, config)
    losses, gradients = model.loss_and_gradients(batch, threads=1)
    answer = forward(model, batch, threads=1)
    for threads in (2, 3, 8):
        again, gradients_again = model.loss_and_gradients(batch, threads=threads)
        assert again == losses and same_bits(gradients_again, gradients), threads
        assert same_bits(forward(model, batch, threads=threads), answer), threads


def test_memory_budget_changes_no_bit_of_resnet(either):
    """0: every recording's convolutions but the first's are computed again; 3 MiB: those of some."""
    results = []
    for megabytes in (1024, 3, 0):
        config = configuration(**dict(OPTIONS["resnet"], memory_mb=megabytes))
        results.append(build(either, config).loss_and_gradients(batch_for(either, config, B=9)))
    assert results[0][0] == results[1][0] == results[2][0]
    assert same_bits(results[0][1], results[1][1]) and same_bits(results[0][1], results[2][1])


def test_memory_budget_changes_no_bit(either):
    """Activations that do not fit are computed again: 1 MiB holds less than this batch's."""
    results = []
    for megabytes in (1024, 1):
        config = configuration(width=128, heads=2, depth=4, memory_mb=megabytes, dropout=0.2)
        results.append(
            build(either, config).loss_and_gradients(
                batch_for(either, config, B=24, leads=(12,)), step=2, recordings=np.arange(24)
            )
        )
    assert results[0][0] == results[1][0]
    assert same_bits(results[0][1], results[1][1])


class TestDropout:
    def losses(self, core, seed=1, step=2, recordings=range(6)):
        config, recordings = configuration(dropout=0.3, seed=seed), np.array(recordings, np.int64)
        return build(core, config).loss_and_gradients(
            batch_for(core, config), step=step, recordings=recordings
        )

    def test_is_reproducible(self, either):
        (a, da), (b, db) = self.losses(either), self.losses(either)
        assert a == b and same_bits(da, db)

    @pytest.mark.parametrize(
        "change", [dict(seed=2), dict(step=3), dict(recordings=np.arange(6, 12))], ids=str
    )
    def test_depends_on_seed_step_and_recording(self, either, change):
        assert self.losses(either)[0]["query"] != self.losses(either, **change)[0]["query"]

    def test_does_not_touch_the_contrast_or_evaluation(self, core64):
        config = configuration(dropout=0.3)
        plain, batch = configuration(), batch_for(core64, config)
        assert (
            self.losses(core64)[0]["contrast"]
            == build(core64, plain).loss_and_gradients(batch)[0]["contrast"]
        )
        dropped, kept = forward(build(core64, config), batch), forward(build(core64, plain), batch)
        assert (dropped["logits"] == kept["logits"]).all()

    def test_is_on_average_what_it_drops_from(self, core64):
        """The mean query loss over steps is near the loss without dropout: masks are scaled and not all the
        same."""
        config = configuration(dropout=0.1)
        model, batch = build(core64, config), batch_for(core64, config)
        values = np.array(
            [
                model.loss_and_gradients(batch, step=step, recordings=np.arange(6))[0]["query"]
                for step in range(200)
            ]
        )
        plain = build(core64, configuration()).loss_and_gradients(batch)[0]["query"]
        assert values.std() > 1e-3
        assert abs(values.mean() - plain) < 0.1 * plain


# ------------------------------------------------------------------------------------------------ golden file


@pytest.mark.parametrize("name", ["default", "options"])
def test_golden_file(either, name):
    """What PyTorch computed in float64 (tests/parity writes the file)."""
    golden = json.loads(GOLDEN.read_text())[name]
    config = configuration(**golden["config"])
    tolerance = 1e-4 if real_of(either) == np.float32 else 1e-9
    model, batch = build(either, config), batch_for(either, config)
    out = forward(model, batch)
    for key in ("logits", "ecg", "text", "features"):
        assert relative_error(out[key], golden[key]) < tolerance, key
    losses, gradients = model.loss_and_gradients(batch)
    for key in ("contrast", "query", "total"):
        assert losses[key] == pytest.approx(golden["losses"][key], rel=tolerance)
    assert gradients.keys() == golden["gradients"].keys()
    for key, (norm, entries) in golden["gradients"].items():
        gradient = gradients[key].astype(np.float64)
        scale = max(norm, golden["gradient_scale"][key])
        assert abs(np.linalg.norm(gradient) - norm) < tolerance * scale, key
        for i, value in entries:
            assert abs(gradient.ravel()[i] - value) < tolerance * scale, key


@pytest.mark.parametrize("name", ["default", "options"])
def test_golden_steps(either, name):
    """Ten AdamW steps, each on a batch of its own: a warm-up, then half a cosine to 0 (SPEC 7)."""
    golden = json.loads(GOLDEN.read_text())[name]
    config, steps = configuration(**golden["config"]), golden["steps"]
    model = build(either, config)
    optimiser = either.Optimiser(model)
    for step, expected in enumerate(steps):
        warmup = config["warmup_steps"]
        share = (
            (step + 1) / warmup
            if step < warmup
            else 0.5 * (1 + np.cos(np.pi * (step - warmup) / (len(steps) - warmup)))
        )
        losses = optimiser.step(batch_for(either, config, name=f"step{step}"), config["lr"] * share)
        for key in ("contrast", "query", "total"):
            assert losses[key] == pytest.approx(
                expected[key], rel=1e-4 if real_of(either) == np.float32 else 1e-8
            )
