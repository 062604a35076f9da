"""The whole model of SPEC 2, 3, 5 and 6 in NumPy float64, one recording after the other: forward pass and
losses.

Gradients of the whole loss are checked by differences of this forward pass and, in tests/parity, against
PyTorch. No dropout: its masks belong to the core alone.
"""

import numpy as np
import twins
from model_cases import norm_of

EPS = 1e-5


def linear(p, name, x):
    return twins.linear_forward(x, p[name + ".weight"], p.get(name + ".bias"))


def layernorm(p, name, x):
    return twins.layernorm_forward(x, p[name + ".weight"], p[name + ".bias"], EPS)[0]


def heads(x):
    """(T, H E) -> (T, H, E), E = 64."""
    return x.reshape(len(x), -1, 64)


def attend(q, k, v):
    return twins.attention_forward(heads(q), heads(k), heads(v))[0].reshape(len(q), -1)


def encode(config, p, patches, lead, segment):
    """z_e (T, C): the normed tokens of one recording (Eq. 1-3, SPEC 3); with final_norm "mean" before their norm."""
    z = twins.tokens_forward(
        patches,
        lead,
        segment,
        p["encoder.tokens.weight"],
        p.get("encoder.tokens.lead"),
        p.get("encoder.tokens.temporal"),
    )
    if config["token_bias"]:
        z = z + p["encoder.tokens.bias"]
    for i in range(config["depth"]):
        block = f"encoder.blocks.{i}."
        q, k, v = np.split(linear(p, block + "attention.qkv", layernorm(p, block + "norm1", z)), 3, axis=1)
        z = z + linear(p, block + "attention.out", attend(q, k, v))
        hidden = linear(p, block + "mlp.fc1", layernorm(p, block + "norm2", z))
        z = z + linear(p, block + "mlp.fc2", twins.gelu_forward(hidden))
    return z if config["final_norm"] else layernorm(p, "encoder.norm", z)


def signals(config, batch):
    """(B, S, 12) of a batch of agnostic tokens: what ResNet-18 sees, 0 where there is no segment."""
    P, S = config["segment_samples"], round(config["fs"] * config["seconds"])
    x = np.zeros((len(batch["offset"]) - 1, S, 12))
    for b, (start, stop) in enumerate(zip(batch["offset"][:-1], batch["offset"][1:], strict=True)):
        for t in range(start, stop):
            m = batch["segment"][t]
            x[b, m * P : (m + 1) * P] = batch["patches"][t].reshape(12, P).T
    return x


def resnet(config, p, statistics, batch, training):
    """z (B, L, 512) of SPEC 10."""

    def convolve(name, x, stride, residual=0.0, relu=True):
        x = np.stack([twins.conv_forward(recording, p[name + ".weight"], stride) for recording in x])
        norm = norm_of(name)
        gain, bias = p[norm + ".weight"], p[norm + ".bias"]
        mean, var = statistics[norm + ".running_mean"], statistics[norm + ".running_var"]
        if training:
            mean, var = x.mean((0, 1)), x.var((0, 1))
        y = (x - mean) / np.sqrt(var + EPS) * gain + bias + residual
        return np.maximum(y, 0) if relu else y

    x = convolve("encoder.stem", signals(config, batch), 2)
    for i in range(8):
        block, stride = f"encoder.residual.{i}.", 2 if i in (2, 4, 6) else 1
        shortcut = convolve(block + "shortcut", x, 2, relu=False) if stride == 2 else x
        x = convolve(block + "conv2", convolve(block + "conv1", x, stride), 1, shortcut)
    return x


def attention_pool(p, z):
    """(J) of one recording's map z (L, 512)."""
    x = linear(p, "ecg_projector.down", z) + p["ecg_projector.pool.positions"]
    x = np.concatenate([p["ecg_projector.pool.token"][None], x])
    k, v = np.split(linear(p, "ecg_projector.pool.kv", x), 2, axis=1)
    return linear(p, "ecg_projector.pool.out", attend(linear(p, "ecg_projector.pool.q", x[:1]), k, v))[0]


def query(config, p, entities, z_e):
    """Logits (Q) of one recording (SPEC 6), and its head-averaged cross-attention (layers, Q, T)."""
    q = linear(p, "query.projection", entities)
    memory = layernorm(p, "query.memory_norm", linear(p, "query.memory", z_e))
    weights = []
    for i in range(config["query_layers"]):
        layer = f"query.layers.{i}."
        a, k, v = np.split(
            linear(p, layer + "self_attention.qkv", layernorm(p, layer + "norm1", q)), 3, axis=1
        )
        if config["isolate_queries"]:  # each query sees itself alone
            mixed = v
        else:
            mixed = attend(a, k, v)
        q = q + linear(p, layer + "self_attention.out", mixed)
        a = linear(p, layer + "cross_attention.q", layernorm(p, layer + "norm2", q))
        k, v = np.split(linear(p, layer + "cross_attention.kv", memory), 2, axis=1)
        weights.append(twins.attention_weights(heads(a), heads(k)))
        q = q + linear(p, layer + "cross_attention.out", attend(a, k, v))
        hidden = linear(p, layer + "mlp.fc1", layernorm(p, layer + "norm3", q))
        q = q + linear(p, layer + "mlp.fc2", twins.relu_forward(hidden))
    return linear(p, "query.classifier", layernorm(p, "query.norm", q))[:, 0], np.stack(weights)


def project_ecg(config, p, statistics, pooled, training):
    def norm(name, x):
        kind = config["projection_norm"]
        if kind == 1:
            return layernorm(p, name, x)
        if kind == 2:
            return x
        gain, bias = p[name + ".weight"], p[name + ".bias"]
        mean, var = statistics[name + ".running_mean"], statistics[name + ".running_var"]
        if training:
            return twins.batchnorm_forward(x, gain, bias, mean, var, EPS, 0.1)[0]
        return twins.batchnorm_apply(x, mean, var, gain, bias, EPS)

    hidden = twins.relu_forward(norm("ecg_projector.norm1", linear(p, "ecg_projector.fc1", pooled)))
    return twins.normalize_forward(norm("ecg_projector.norm2", linear(p, "ecg_projector.fc2", hidden)))[0]


def project_text(p, report):
    hidden = twins.gelu_forward(linear(p, "text_projector.fc1", report))
    return twins.normalize_forward(linear(p, "text_projector.fc2", hidden))[0]


def forward(config, p, statistics, batch, training=False):
    """logits (B, Q), ecg and text (B, 256), features (B, C), attention: a list of (layers, Q, T_b)."""
    if config["encoder"]:
        z = resnet(config, p, statistics, batch, training)
        ecg = twins.normalize_forward(np.stack([attention_pool(p, recording) for recording in z]))[0]
        return dict(ecg=ecg, text=project_text(p, batch["report"]), features=z.mean(1))
    offset = batch["offset"]
    pooled, logits, attention = [], [], []
    for start, stop in zip(offset[:-1], offset[1:], strict=True):
        z_e = encode(
            config, p, batch["patches"][start:stop], batch["lead"][start:stop], batch["segment"][start:stop]
        )
        pooled.append(layernorm(p, "encoder.norm", z_e.mean(0)[None])[0] if config["final_norm"] else z_e.mean(0))
        if not config["query_weight"]:
            continue
        answer, weights = query(config, p, batch["entities"], z_e)
        logits.append(answer)
        attention.append(weights)
    pooled = np.stack(pooled)
    answers = dict(logits=np.stack(logits), attention=attention) if config["query_weight"] else {}
    return dict(
        **answers,
        ecg=project_ecg(config, p, statistics, pooled, training),
        text=project_text(p, batch["report"]),
        features=pooled,
    )


def losses(config, p, statistics, batch):
    """contrast, unimodal, query, total of a training step (batch statistics)."""
    out = forward(config, p, statistics, batch, training=True)
    scale = np.exp(p["contrast.log_scale"][0]) if config["learn_temperature"] else 1.0 / config["temperature"]
    ids = batch["report_id"] if config["mask_duplicates"] else None
    contrast = twins.infonce(
        out["ecg"], out["text"], scale, ids, config["contrast_directions"], config["contrast_positive"]
    )[0]
    unimodal = query_loss = 0.0
    if config["unimodal_weight"]:
        x = linear(p, "ecg_projector.down", out["features"]) if config["encoder"] else out["features"]
        one, two = (twins.normalize_forward(x @ p[f"unimodal.linear{i}.weight"].T)[0] for i in (1, 2))
        unimodal = twins.infonce(one, two, scale)[0]
    if config["query_weight"]:
        B, Q = batch["labels"].shape
        query_loss = twins.bce(out["logits"], batch["labels"], 1.0)[0] / (
            B if config["query_reduction"] else B * Q
        )
    found = dict(contrast=contrast, unimodal=unimodal, query=query_loss)
    return dict(found, total=sum(config[name + "_weight"] * loss for name, loss in found.items()))
