"""Configurations, parameters and batches that every check of the whole model uses.

A configuration is the dictionary that `_kmerl.Model` takes: each field of csrc/model/config.h as a number.
Numbers are drawn by integer arithmetic (splitmix64), the same on every machine and under every NumPy version,
so that the golden file needs to hold results only.
"""

import zlib

import numpy as np

# SPEC's defaults. The names of a choice in the order of its enum in csrc/model/config.h.
DEFAULTS = dict(
    fs=500.0,
    seconds=10.0,
    max_missing=0.2,
    normalisation=0,
    normalisation_scope=0,
    window=0,
    segment_samples=100,
    tokenisation=0,
    lead_embedding=1,
    temporal_embedding=1,
    segment_masking=0,
    mask_ratio=0.25,
    token_bias=0,
    final_norm=0,
    encoder=0,
    width=192,
    depth=12,
    heads=3,
    mlp_width=768,
    text_width=768,
    projection_width=256,
    projection_norm=0,
    temperature=0.07,
    learn_temperature=0,
    contrast_directions=2,
    contrast_positive=1,
    mask_duplicates=0,
    contrast_weight=1.0,
    unimodal_weight=0.0,
    unimodal_dropout=0.1,
    query_width=256,
    query_layers=4,
    query_heads=4,
    query_mlp_width=1024,
    isolate_queries=0,
    dropout=0.0,
    query_reduction=0,
    query_weight=1.0,
    lr=2e-4,
    beta1=0.9,
    beta2=0.999,
    eps=1e-8,
    weight_decay=1e-5,
    decay_all=1,
    clip=0.0,
    warmup_steps=0,
    batch_size=512,
    epochs=50,
    seed=0,
    weight_std=0.02,
    precision=0,
    lanes=8,
    span_recordings=4,
    span_tokens=1024,
    memory_mb=1024,
    masked_leads=(0.0,) * 9 + (1 / 3, 1 / 3, 1 / 3),
)
SMALL = dict(
    seconds=2.0,
    width=64,
    depth=2,
    heads=1,
    mlp_width=96,
    text_width=24,
    projection_width=32,
    query_width=40,
    query_layers=2,
    query_heads=2,
    query_mlp_width=72,
    batch_size=8,
    lanes=3,
    span_recordings=2,
    span_tokens=64,
)

# Every option of SPEC 2, 5, 6 that changes the forward pass or the loss: one change of the default each.
BATCH, LAYER, NONE = range(3)
E2T, MEAN, SUM = range(3)
OPTIONS = {
    "default": {},
    "norm-layer": dict(projection_norm=LAYER),
    "norm-none": dict(projection_norm=NONE),
    "temperature": dict(temperature=0.5),
    "learn-temperature": dict(learn_temperature=1),
    "directions-mean": dict(contrast_directions=MEAN),
    "directions-e2t": dict(contrast_directions=E2T),
    "directions-e2t-learn-temperature": dict(contrast_directions=E2T, learn_temperature=1),
    "positive-excluded": dict(contrast_positive=0),
    "mask-duplicates": dict(mask_duplicates=1),
    "mask-duplicates-positive-excluded": dict(mask_duplicates=1, contrast_positive=0),
    "isolate-queries": dict(isolate_queries=1),
    "query-sum": dict(query_reduction=1),
    "query-heads-1": dict(query_heads=1),
    "query-heads-3": dict(query_heads=3),
    "query-heads-5": dict(query_heads=5),
    "query-layers-1": dict(query_layers=1),
    "query-layers-3": dict(query_layers=3),
    "weights": dict(contrast_weight=0.5, query_weight=3.0),
    "no-contrast": dict(contrast_weight=0.0),
    "no-query": dict(query_weight=0.0),
    "agnostic": dict(tokenisation=1, lead_embedding=0),
    "token-bias": dict(tokenisation=1, lead_embedding=0, token_bias=1),
    "unimodal": dict(unimodal_weight=0.7, unimodal_dropout=0.0, learn_temperature=1),
    "unimodal-no-contrast": dict(unimodal_weight=0.7, unimodal_dropout=0.0, contrast_weight=0.0),
    "merl-vit": dict(
        tokenisation=1,
        lead_embedding=0,
        token_bias=1,
        final_norm=1,
        segment_samples=50,
        unimodal_weight=1.0,
        unimodal_dropout=0.0,
        query_weight=0.0,
    ),
    "resnet": dict(
        encoder=1,
        seconds=0.4,
        width=512,
        depth=0,
        heads=0,
        mlp_width=0,
        tokenisation=1,
        lead_embedding=0,
        temporal_embedding=0,
        segment_samples=20,
        projection_width=128,
        projection_norm=2,
        unimodal_weight=1.0,
        unimodal_dropout=0.0,
        query_weight=0.0,
        lanes=4,
    ),
    "no-lead-embedding": dict(lead_embedding=0),
    "no-temporal-embedding": dict(temporal_embedding=0),
    "no-embeddings": dict(lead_embedding=0, temporal_embedding=0),
    "patch-25": dict(segment_samples=25),  # 364 tokens in one recording: several blocks of rows of the MLP
    "wider": dict(width=128, heads=2, mlp_width=200, depth=3),
    "one-span": dict(lanes=1, span_recordings=1000, span_tokens=100_000),
    "tiny-spans": dict(lanes=5, span_tokens=1),
}


def configuration(**changes):
    """SPEC's defaults in a small model, with changes."""
    unknown = set(changes) - set(DEFAULTS)
    assert not unknown, unknown
    return {**DEFAULTS, **SMALL, **changes}


def uniform(name, shape, scale=1.0):
    """Numbers in [-scale, scale) that depend on name and shape alone, exact in float32."""
    n = int(np.prod(shape, dtype=np.int64))
    z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(zlib.crc32(name.encode()) + (zlib.adler32(name.encode()) << 32))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z ^= z >> np.uint64(31)
    x = (z >> np.uint64(44)).astype(np.float64) / 2**19 - 1.0  # 20 bits
    return (x * scale).astype(np.float32).astype(np.float64).reshape(shape)


def convolutions():
    """{name: (out, taps * in)} of ResNet-18 (SPEC 10)."""
    shapes, width = {"encoder.stem": (64, 7 * 12)}, 64
    for i in range(8):
        block, wider = f"encoder.residual.{i}.", 64 << i // 2
        shapes[block + "conv1"] = (wider, 3 * width)
        shapes[block + "conv2"] = (wider, 3 * wider)
        if wider > width:
            shapes[block + "shortcut"] = (wider, width)
        width = wider
    return shapes


def norm_of(convolution):
    """Name of the batch normalisation behind a convolution."""
    return convolution.replace("conv", "norm") if "conv" in convolution else convolution + ".norm"


def parameters(config):
    """{name: float64 array}: no gain 1, no bias 0, so that each one's gradient matters.  The names and shapes
    of csrc/model/params.h, written down a second time."""
    c = config
    C, F, D, R = c["width"], c["mlp_width"], c["text_width"], c["projection_width"]
    K, G, A = c["query_width"], c["query_mlp_width"], 64 * c["query_heads"]
    P = c["segment_samples"] * (12 if c["tokenisation"] else 1)
    M = round(c["fs"] * c["seconds"]) // c["segment_samples"]
    linear, embedding, maps, sizes = {}, {}, {}, {}
    if c["encoder"]:
        linear["ecg_projector.down.weight"] = (R, C)
        for name, factor in (("q", 1), ("kv", 2), ("out", 1)):
            linear[f"ecg_projector.pool.{name}.weight"] = (factor * R, R)
        embedding["ecg_projector.pool.token"] = (R,)
        embedding["ecg_projector.pool.positions"] = (-(-round(c["fs"] * c["seconds"]) // 16), R)
        for name, (N, K) in convolutions().items():
            maps[name + ".weight"] = (N, K)
            sizes[norm_of(name)] = N
    else:
        linear["encoder.tokens.weight"] = (C, P)
        linear["ecg_projector.fc1.weight"] = (R, C)
        linear["ecg_projector.fc2.weight"] = (R, R)
        sizes["encoder.norm"] = C
    if c["lead_embedding"]:
        embedding["encoder.tokens.lead"] = (12, C)
    if c["temporal_embedding"]:
        embedding["encoder.tokens.temporal"] = (M, C)
    for i in range(c["depth"]):
        block = f"encoder.blocks.{i}."
        sizes.update({block + "norm1": C, block + "norm2": C})
        for name, shape in (
            ("attention.qkv", (3 * C, C)),
            ("attention.out", (C, C)),
            ("mlp.fc1", (F, C)),
            ("mlp.fc2", (C, F)),
        ):
            linear[block + name + ".weight"] = shape
    linear.update(
        {
            "text_projector.fc1.weight": (R, D),
            "text_projector.fc2.weight": (R, R),
        }
    )
    if c["query_weight"]:
        linear.update(
            {
                "query.projection.weight": (K, D),
                "query.memory.weight": (K, C),
                "query.classifier.weight": (1, K),
            }
        )
        sizes.update({"query.memory_norm": K, "query.norm": K})
    if c["unimodal_weight"]:
        maps.update({f"unimodal.linear{i}.weight": (R, R if c["encoder"] else C) for i in (1, 2)})
    if c["projection_norm"] != NONE:
        sizes.update({"ecg_projector.norm1": R, "ecg_projector.norm2": R})
    for i in range(c["query_layers"] if c["query_weight"] else 0):
        layer = f"query.layers.{i}."
        sizes.update({layer + name: K for name in ("norm1", "norm2", "norm3")})
        for name, shape in (
            ("self_attention.qkv", (3 * A, K)),
            ("self_attention.out", (K, A)),
            ("cross_attention.q", (A, K)),
            ("cross_attention.kv", (2 * A, K)),
            ("cross_attention.out", (K, A)),
            ("mlp.fc1", (G, K)),
            ("mlp.fc2", (K, G)),
        ):
            linear[layer + name + ".weight"] = shape
    values = {name: uniform(name, shape, 1.5 / np.sqrt(shape[1])) for name, shape in linear.items()}
    values.update(
        {
            name.replace(".weight", ".bias"): uniform(name + "bias", shape[:1], 0.2)
            for name, shape in linear.items()
            if name != "encoder.tokens.weight"
        }
    )
    if c["token_bias"]:
        values["encoder.tokens.bias"] = uniform("encoder.tokens.bias", (C,), 0.2)
    values.update({name: uniform(name, shape, 1.5 / np.sqrt(shape[1])) for name, shape in maps.items()})
    values.update({name: uniform(name, shape, 0.5) for name, shape in embedding.items()})
    values.update({name + ".weight": 1.0 + uniform(name, (size,), 0.3) for name, size in sizes.items()})
    values.update({name + ".bias": uniform(name + "bias", (size,), 0.3) for name, size in sizes.items()})
    if c["learn_temperature"]:
        values["contrast.log_scale"] = np.array([np.float32(1.3)], np.float64)
    return values


def smooth_parameters(config):
    """Parameters that keep each ReLU's inputs on one side of 0, half of them on each: the loss has no kinks
    nearby, and its differences are as exact as the arithmetic."""
    values = parameters(config)
    projector = "ecg_projector." + ("fc1" if config["projection_norm"] == NONE else "norm1") + ".bias"
    for name, x in values.items():
        if name == projector or (name.startswith("query.layers.") and name.endswith("mlp.fc1.bias")):
            x += np.where(np.arange(x.size) % 2, 6.0, -6.0)
        if name.startswith(("encoder.stem", "encoder.residual.")) and name.endswith(".bias") and "shortcut" not in name:
            x += np.where(np.arange(x.size) % 2, 15.0, -15.0)
    return values


def statistics(config):
    """Running mean and variance of batch normalisation, away from 0 and 1."""
    R = config["projection_width"]
    sizes = {}
    if config["projection_norm"] == BATCH:
        sizes = {"ecg_projector.norm1": R, "ecg_projector.norm2": R}
    if config["encoder"]:
        sizes.update({norm_of(name): shape[0] for name, shape in convolutions().items()})
    values = {name + ".running_mean": uniform(name + "mean", (size,), 0.2) for name, size in sizes.items()}
    values.update({name + ".running_var": 1.0 + uniform(name + "var", (size,), 0.5) for name, size in sizes.items()})
    return values


def batch(config, B=6, Q=7, name="batch", leads=(3, 1, 2, 12), short=True):
    """B recordings with leads visible leads each (in turn); their segments differ, two share a report."""
    M = round(config["fs"] * config["seconds"]) // config["segment_samples"]
    P = config["segment_samples"]
    lead, segment, offset = [], [], [0]
    for b in range(B):
        chance = uniform(f"{name}{b}", (12, M))
        if config["tokenisation"]:
            kept = np.flatnonzero(chance[0] > -0.5) if b != 1 else np.arange(1)
            lead += [0] * len(kept)
            segment += list(kept)
        else:
            for which in np.argsort(uniform(f"{name}{b}leads", (12,)))[: leads[b % len(leads)]]:
                own = M - 2 if short and b == 2 else M  # a shorter recording
                kept = np.flatnonzero(chance[which, :own] > -0.5)
                lead += [which] * len(kept)
                segment += list(kept)
        offset.append(len(lead))
    T, D = len(lead), config["text_width"]
    report_id = np.arange(B, dtype=np.int64)
    report = uniform(name + "report", (B, D))
    if B > 4:
        report_id[4], report[4] = report_id[1], report[1]
    return dict(
        patches=1.7 * uniform(name + "patches", (T, P * (12 if config["tokenisation"] else 1))),
        lead=np.array(lead, np.int32),
        segment=np.array(segment, np.int32),
        offset=np.array(offset, np.int32),
        report=report,
        report_id=report_id,
        labels=(uniform(name + "labels", (B, Q)) > 0.2).astype(np.float64),
        entities=uniform(name + "entities", (Q, D)),
    )


def to_real(values, real):
    """Float arrays in the build's number type."""
    return {name: np.ascontiguousarray(x, real) if x.dtype.kind == "f" else x for name, x in values.items()}


def forward(model, batch, threads=1, **kwargs):
    """logits (of a model with a query network), ecg, text, features of a _kmerl.Model in evaluation mode."""
    asks = any(name.startswith("query.") for name in model.parameters())
    classes = model.classes(batch["entities"]) if asks else None
    return model.evaluate(batch, classes, embeddings=True, threads=threads, **kwargs)
