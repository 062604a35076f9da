"""Configuration: defaults, every bad value an error that names its field, JSON both ways."""

import dataclasses
import math

import pytest

import kmerl
from kmerl.config import PRESETS, SIZES, Config


def test_defaults_are_those_of_the_specification():
    c = Config()
    assert (c.width, c.depth, c.heads, c.mlp_width) == (192, 12, 3, 768)
    assert (c.fs, c.seconds, c.segment_samples, c.max_missing, c.window) == (500, 10, 100, 0.2, "first")
    assert (c.normalisation, c.normalisation_scope) == ("zscore", "visible")
    assert (c.masked_leads, c.segment_masking, c.mask_ratio) == ((9, 10, 11), "lead", 0.25)
    assert (c.projection_width, c.projection_norm, c.temperature) == (256, "batch", 0.07)
    assert (c.contrast_directions, c.contrast_positive, c.mask_duplicates) == ("sum", True, False)
    assert (c.query_width, c.query_layers, c.query_heads, c.query_mlp_width) == (256, 4, 4, 1024)
    assert (c.dropout, c.isolate_queries, c.query_reduction) == (0, False, "mean")
    assert (c.contrast_weight, c.query_weight) == (1, 1)
    assert (c.lr, c.betas, c.eps, c.weight_decay, c.decay) == (2e-4, (0.9, 0.999), 1e-8, 1e-5, "all")
    assert (c.batch_size, c.epochs, c.warmup_steps, c.clip) == (512, 50, 0, 0)
    assert (c.report_pooling, c.query_pooling) == ("mean", "cls")


@pytest.mark.parametrize("size", SIZES)
def test_sizes_have_heads_of_64(size):
    c = Config(size=size)
    assert c.width == 64 * c.heads and c.mlp_width == 4 * c.width


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset):
    model = kmerl.KMERL(preset=preset)
    for name, value in PRESETS[preset].items():
        assert getattr(model, name) == value
    model.initialize(text_dim=8)
    assert kmerl.KMERL(preset="paper", dropout=0.3).dropout == 0.3


BAD = [
    ("encoder", "resnet", ValueError),
    ("size", "huge", ValueError), ("fs", 0, ValueError), ("fs", -1, ValueError), ("fs", math.nan, TypeError),
    ("seconds", 10**400, ValueError), ("masked_leads", {9: 10**400}, ValueError),
    ("seconds", 0, ValueError), ("weight_std", 0, ValueError), ("weight_std", math.nan, TypeError), ("segment_samples", 0, ValueError), ("segment_samples", 99, ValueError),
    ("segment_samples", 100.0, TypeError), ("max_missing", 1.5, ValueError), ("normalisation", "z", ValueError),
    ("normalisation_scope", "all", ValueError), ("window", "last", ValueError), ("tokenisation", "both", ValueError),
    ("masked_leads", (), ValueError), ("masked_leads", (12,), ValueError), ("masked_leads", (9, 9), ValueError),
    ("masked_leads", {9: -1.0}, ValueError), ("masked_leads", {9: 0.0}, ValueError), ("masked_leads", "9", TypeError),
    ("masked_leads", (True,), ValueError), ("segment_masking", "some", ValueError), ("mask_ratio", 1.0, ValueError),
    ("mask_ratio", -0.1, ValueError), ("projection_norm", "group", ValueError), ("temperature", 0, ValueError),
    ("contrast_directions", "t2e", ValueError), ("learn_temperature", 1, TypeError), ("query_layers", 0, ValueError),
    ("query_heads", 0, ValueError), ("query_init", "xavier", ValueError), ("lead_pooling", "max", ValueError), ("dropout", 1.0, ValueError), ("query_reduction", "max", ValueError),
    ("lr", -1e-3, ValueError), ("lr", "fast", TypeError), ("betas", (0.9,), TypeError), ("betas", (1.0, 0.9), ValueError),
    ("weight_decay", -1, ValueError), ("decay", "none", ValueError), ("batch_size", 0, ValueError),
    ("batch_size", 2.0, TypeError), ("epochs", 0, ValueError), ("epochs", True, TypeError), ("seed", 2**64, ValueError),
    ("precision", "float16", ValueError), ("threads", 0, ValueError), ("lanes", 0, ValueError), ("lanes", 65, ValueError),
    ("span_recordings", 0, ValueError), ("memory_mb", -1, ValueError), ("clip", -1, ValueError),
    ("final_norm", "none", ValueError), ("token_bias", 1, TypeError), ("unimodal_weight", -1, ValueError),
    ("unimodal_dropout", 1.0, ValueError), ("warmup_steps", -1, ValueError), ("report_pooling", "max", ValueError), ("text_width", 0, ValueError),
]


@pytest.mark.parametrize("name, value, error", BAD, ids=[f"{name}={value!r}" for name, value, _ in BAD])
def test_bad_values_name_the_field(name, value, error):
    with pytest.raises(error, match=name.replace("betas", "beta")):
        Config(**{name: value})


@pytest.mark.parametrize("values, words", [
    ({"contrast_weight": 0, "query_weight": 0}, "contrast_weight and query_weight"),
    ({"tokenisation": "agnostic", "lead_embedding": True}, "lead_embedding"),
    ({"tokenisation": "agnostic", "segment_masking": "at once"}, "segment_masking"),
    ({"token_bias": True}, "token_bias"),
    ({"final_norm": "mean"}, "final_norm"),
    ({"encoder": "resnet18"}, "tokenisation"),
    (dict(PRESETS["merl-resnet"], size="tiny"), "one size"),
    (dict(PRESETS["merl-resnet"], width=256), "one size"),
    (dict(PRESETS["merl-resnet"], depth=3), "one size"),
    (dict(PRESETS["merl-resnet"], query_weight=1.0), "query_weight"),
    (dict(PRESETS["merl-resnet"], projection_norm="batch"), "projection_norm"),
    (dict(PRESETS["merl-resnet"], projection_width=100), "multiple of 64"),
    (dict(PRESETS["merl-resnet"], temporal_embedding=True), "temporal_embedding"),
    ({"size": "tiny", "width": 256}, "contradicts size"),
    ({"size": "custom"}, "needs width, depth, heads and mlp_width"),
    ({"size": "custom", "width": 100, "depth": 1, "heads": 1, "mlp_width": 64}, "width must be"),
])
def test_contradictions_are_errors(values, words):
    with pytest.raises(ValueError, match=words):
        Config(**values)


def test_unknown_parameters_are_errors_with_a_hint():
    with pytest.raises(TypeError, match="did you mean 'epochs'"):
        kmerl.KMERL(epoch=5)
    with pytest.raises(ValueError, match="no parameter 'sise'"):
        kmerl.KMERL().set_params(sise="tiny")
    with pytest.raises(ValueError, match="preset"):
        kmerl.KMERL(preset="papers")


def test_json_both_ways_keeps_what_is_computed():
    c = Config(masked_leads={0: 1.0, 9: 3.0}, betas=(0.8, 0.99), size="small", seed=7, text_width=16, threads=3)
    text = c.to_json()
    again = Config.from_json(text)
    assert again.to_json() == text
    assert again == dataclasses.replace(c, threads=None)
    assert c.difference(again) == []
    assert sorted(Config(lr=1e-3, seed=1, threads=2).difference(Config(threads=1))) == ["lr", "seed"]


def test_json_of_an_older_version_is_read_as_it_was_computed():
    text = Config().to_json()
    old = text
    for field in ('"lead_pooling": "joint", ', '"query_init": "normal", ', ', "weight_std": 0.02'):
        assert field in old
        old = old.replace(field, "")
    assert Config.from_json(old).to_json() == text


@pytest.mark.parametrize("change, words", [
    (lambda t: t.replace('"seed"', '"sead"'), "sead"),
    (lambda t: t.replace('"seed": 0, ', ""), "lacks the fields seed"),
    (lambda t: "[]", "JSON object"),
])
def test_json_of_another_shape_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        Config.from_json(change(Config().to_json()))


def test_masked_leads_become_probabilities():
    assert Config(masked_leads=(9, 10, 11)).to_core(1)["masked_leads"] == [0.0] * 9 + [1 / 3] * 3
    assert Config(masked_leads={0: 1, 11: 3}).to_core(1)["masked_leads"] == [0.25] + [0.0] * 10 + [0.75]
    assert Config(masked_leads=9).masked_leads == (9,)


def test_scikit_learn_grammar():
    model = kmerl.KMERL(epochs=3, masked_leads=(0,))
    again = kmerl.KMERL(**model.get_params())
    assert again.get_params() == model.get_params()
    assert model.set_params(epochs=4) is model and model.epochs == 4
    assert repr(model) == "KMERL(masked_leads=(0,), epochs=4)"
    with pytest.raises(RuntimeError, match="no parameters yet"):
        model.predict_proba("nowhere", ["x"])


@pytest.mark.parametrize("text_dim", [0, -1, 2.5, True, "384"])
def test_initialize_checks_the_text_width(text_dim):
    with pytest.raises(ValueError, match="text_dim"):
        kmerl.KMERL().initialize(text_dim=text_dim)
