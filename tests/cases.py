"""One list of cases for every operation: correctness, gradients and timing all run over it.

A case is an operation and the sizes of its arguments, letters as in csrc/ops/ops.h; `arguments` draws them.
The last case of each operation is of the size that training ViT-tiny at batch 16 meets; the others are edges:
one row, one column, widths that no vector length divides, strides.
"""

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    operation: str
    sizes: dict

    def __str__(self):
        return self.operation + "-" + "-".join(f"{name}{size}" for name, size in self.sizes.items())


SIZES = {
    "gemm": [
        dict(M=1, N=1, K=1),
        dict(M=3, N=5, K=7, ta=1),
        dict(M=17, N=1, K=33, tb=1),
        dict(M=1, N=19, K=130, ta=1, tb=1),
        dict(M=65, N=67, K=130, beta=1.0),
        dict(M=33, N=70, K=5, ta=1, alpha=-0.5, beta=0.25),
        dict(M=6, N=16, K=600, tb=1, alpha=2.0),
        dict(M=5, N=4, K=3, alpha=0.0, beta=0.5),
        dict(M=300, N=260, K=257, ta=1, tb=1),
        dict(M=592, N=576, K=192, tb=1),
    ],
    "linear_forward": [
        dict(T=1, N=1, K=1),
        dict(T=1, N=5, K=3),
        dict(T=7, N=1, K=16),
        dict(T=50, N=17, K=23, bias=0),
        dict(T=592, N=576, K=192),
    ],
    "packed_forward": [
        dict(T=1, N=1, K=1),
        dict(T=2, N=5, K=3, bias=0),
        dict(T=50, N=33, K=523),
        dict(T=7, N=1601, K=1023),  # strips in both directions, whatever the cache
        dict(T=592, N=576, K=192),
    ],
    "tokens_forward": [
        dict(T=1, C=1, P=1),
        dict(T=5, C=7, P=3, temporal=0),
        dict(T=40, C=20, P=25, lead=0),
        dict(T=9, C=33, P=300, lead=0, temporal=0),
        dict(T=592, C=192, P=100),
    ],
    "layernorm_forward": [
        dict(T=1, C=1),
        dict(T=1, C=16),
        dict(T=5, C=7),
        dict(T=3, C=257),
        dict(T=592, C=192),
    ],
    "batchnorm_forward": [
        dict(B=2, C=1),
        dict(B=2, C=16),
        dict(B=5, C=7),
        dict(B=33, C=17),
        dict(B=16, C=256),
    ],
    "batchnorm_apply": [dict(B=1, C=1), dict(B=5, C=7), dict(B=16, C=256)],
    "batchpart_moments": [dict(T=1, C=1), dict(T=33, C=7), dict(T=3, C=515), dict(T=1250, C=128)],
    "batchpart_join": [dict(parts=1, T=1, C=1), dict(parts=3, T=5, C=7), dict(parts=16, T=1250, C=128)],
    "batchpart_forward": [
        dict(T=1, C=1),
        dict(T=5, C=7, relu=0),
        dict(T=3, C=515, residual=1),
        dict(T=3, C=17, residual=1, relu=0),
        dict(T=1250, C=128),
    ],
    "batchpart_sums": [dict(T=1, C=1), dict(T=33, C=7, relu=0), dict(T=3, C=515), dict(T=1250, C=128)],
    "batchpart_join_sums": [dict(parts=1, C=1), dict(parts=5, C=7), dict(parts=16, C=128)],
    "batchpart_backward": [dict(T=1, C=1), dict(T=33, C=7), dict(T=3, C=515), dict(T=1250, C=128)],
    "conv_forward": [
        dict(L=1, C=1, N=1, K=1),
        dict(L=1, C=2, N=3, K=7),
        dict(L=2, C=3, N=1, K=3, stride=2),
        dict(L=9, C=5, N=4, K=1, stride=2),
        dict(L=10, C=3, N=5, K=7, stride=2),
        dict(L=11, C=4, N=6, K=3),
        dict(L=700, C=65, N=3, K=3),
        dict(L=5000, C=12, N=64, K=7, stride=2),
        dict(L=313, C=512, N=512, K=3),
        dict(L=1250, C=128, N=128, K=3),
    ],
    "gelu_forward": [dict(n=1), dict(n=17), dict(n=592 * 768)],
    "relu_forward": [dict(n=1), dict(n=17), dict(n=277 * 1024)],
    "attention_forward": [
        dict(Tq=1, Tk=1, H=1, E=64),
        dict(Tq=1, Tk=9, H=2, E=8),
        dict(Tq=9, Tk=1, H=3, E=64),
        dict(Tq=7, Tk=5, H=1, E=5),
        dict(Tq=33, Tk=33, H=3, E=64, packed=1),
        dict(Tq=65, Tk=130, H=2, E=64),
        dict(Tq=600, Tk=600, H=1, E=64, packed=1),
        dict(Tq=277, Tk=37, H=4, E=64),
        dict(Tq=111, Tk=111, H=3, E=64, packed=1),
    ],
    "attention_weights": [
        dict(Tq=1, Tk=1, H=1, E=64),
        dict(Tq=3, Tk=7, H=5, E=64),
        dict(Tq=277, Tk=37, H=4, E=64),
    ],
    "pool_forward": [
        dict(counts=(1,), C=1),
        dict(counts=(3, 1, 5), C=7),
        dict(counts=(37, 74, 111) * 5 + (37,), C=192),
    ],
    "vector_add": [dict(n=1), dict(n=17), dict(n=592 * 192)],
    "vector_accumulate": [dict(n=1), dict(n=17), dict(n=592 * 192)],
    "vector_scale": [dict(n=1), dict(n=17), dict(n=592 * 192)],
    "normalize_forward": [dict(B=1, C=1), dict(B=5, C=7), dict(B=16, C=256)],
    "infonce": [
        dict(B=1, C=4),
        dict(B=2, C=3, directions=0),
        dict(B=7, C=5, positive=0),
        dict(B=9, C=16, same=1),
        dict(B=9, C=16, same=1, positive=0, directions=1),
        dict(B=5, C=8, same=2, positive=0),
        dict(B=5, C=8, directions=1, scale=100.0),
        dict(B=33, C=256, directions=0, same=1),
        dict(B=64, C=256),
    ],
    "bce": [dict(n=1), dict(n=17), dict(n=16 * 277)],
    "adamw": [
        dict(n=1, step=1),
        dict(n=17, step=2, decay=0.0),
        dict(n=1000, step=100_000, clip=0.25),
        dict(n=192 * 768, step=10),
    ],
    "vector_square_sum": [dict(n=1), dict(n=17), dict(n=192 * 768)],
}
CASES = [Case(operation, sizes) for operation, rows in SIZES.items() for sizes in rows]


def arguments(case, dtype, seed=0):
    """The operation's arguments by the names of its twin; every number is one that float32 holds exactly."""
    rng = np.random.default_rng([seed, CASES.index(case)])

    def draw(*shape):
        return rng.standard_normal(shape, np.float32).astype(dtype)

    return _DRAW[case.operation](draw, rng, **case.sizes)


def _gemm(draw, rng, M, N, K, ta=0, tb=0, alpha=1.0, beta=0.0):
    return dict(
        y=draw(M, N),
        a=draw(*((K, M) if ta else (M, K))),
        b=draw(*((N, K) if tb else (K, N))),
        alpha=alpha,
        beta=beta,
        a_transposed=bool(ta),
        b_transposed=bool(tb),
    )


def _linear(draw, rng, T, N, K, bias=1):
    return dict(x=draw(T, K), w=draw(N, K), bias=draw(N) if bias else None)


def _tokens(draw, rng, T, C, P, lead=1, temporal=1):
    return dict(
        patches=draw(T, P),
        lead_id=rng.integers(0, 12, T).astype(np.int32),
        segment=rng.integers(0, 50, T).astype(np.int32),
        w=draw(C, P),
        lead=draw(12, C) if lead else None,
        temporal=draw(50, C) if temporal else None,
    )


def _layernorm(draw, rng, T, C):
    return dict(x=draw(T, C) + draw(T, 1), gain=draw(C), bias=draw(C), eps=1e-5)


def _batchnorm(draw, rng, B, C):
    return dict(
        x=draw(B, C) + draw(1, C),
        gain=draw(C),
        bias=draw(C),
        running_mean=draw(C),
        running_var=draw(C) ** 2,
        eps=1e-5,
        momentum=0.1,
    )


def _batchnorm_apply(draw, rng, B, C):
    return dict(
        x=draw(B, C), running_mean=draw(C), running_var=draw(C) ** 2, gain=draw(C), bias=draw(C), eps=1e-5
    )


def _batchpart(draw, rng, T, C, relu=1, residual=0):
    x = draw(T, C) + draw(1, C)
    return dict(
        x=x,
        mean=draw(C),
        var=draw(C) ** 2 + draw().dtype.type(0.5),
        gain=draw(C),
        bias=draw(C),
        residual=draw(T, C) if residual else None,
        eps=1e-5,
        relu=relu,
    )


def _batchpart_sums(draw, rng, T, C, relu=1):
    given = _batchpart(draw, rng, T, C)
    y = draw(T, C) if relu else None
    return dict(dy=draw(T, C), y=y, **{name: given[name] for name in ("x", "mean", "var", "eps")})


def _batchpart_backward(draw, rng, T, C):
    given = _batchpart(draw, rng, T, C)
    total = draw(2, C).astype(np.float64) * T
    return dict(
        dy=draw(T, C), x=given["x"], mean=given["mean"], var=given["var"], gain=given["gain"], total=total,
        rows=3 * T, eps=1e-5,
    )  # fmt: skip


def _batchpart_join(draw, rng, parts, T, C):
    moments = np.stack([draw(parts, C), draw(parts, C) ** 2 * T], 1).astype(np.float64)
    return dict(moments=moments, running_mean=draw(C), running_var=draw(C) ** 2, T=T, momentum=0.1)


def _conv(draw, rng, L, C, N, K, stride=1):
    return dict(x=draw(L, C), w=draw(N, K * C), stride=stride)


def _elements(*names):
    return lambda draw, rng, n: {name: 2 * draw(n) for name in names}


def _queries(draw, rng, Tq, Tk, H, E, packed=0):
    if packed:
        qkv = draw(Tq, 3, H, E)
        return dict(q=qkv[:, 0], k=qkv[:, 1], v=qkv[:, 2])
    kv = draw(Tk, 2, H, E)
    return dict(q=draw(Tq, H, E), k=kv[:, 0], v=kv[:, 1])


def _weights(draw, rng, **sizes):
    return {name: array for name, array in _queries(draw, rng, **sizes).items() if name != "v"}


def _pool(draw, rng, counts, C):
    return dict(x=draw(sum(counts), C), offset=np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


def _infonce(draw, rng, B, C, directions=2, positive=1, same=0, scale=1 / 0.07):
    """same 1: some texts are the same; 2: all are."""

    def rows():
        x = draw(B, C)
        return (x / np.sqrt((x * x).sum(1, keepdims=True))).astype(np.float32).astype(x.dtype)

    ids = {0: None, 1: rng.integers(0, max(B // 2, 1), B), 2: np.full(B, 7, np.int64)}[same]
    return dict(ecg=rows(), text=rows(), scale=scale, same_text=ids, directions=directions, positive=positive)


def _bce(draw, rng, n):
    return dict(z=3 * draw(n), y=(draw(n) > 0.5).astype(draw().dtype), weight=1.0 / n)


def _adamw(draw, rng, n, step, clip=1.0, decay=0.01):
    return dict(
        w=draw(n),
        m=draw(n) / 8,
        v=draw(n) ** 2 / 64,
        gradient=draw(n),
        clip=clip,
        lr=2e-3,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        decay=decay,
        step=step,
    )


_DRAW = {
    "gemm": _gemm,
    "linear_forward": _linear,
    "packed_forward": _linear,
    "tokens_forward": _tokens,
    "layernorm_forward": _layernorm,
    "batchnorm_forward": _batchnorm,
    "batchnorm_apply": _batchnorm_apply,
    "batchpart_moments": lambda draw, rng, T, C: dict(x=draw(T, C) + draw(1, C)),
    "batchpart_join": _batchpart_join,
    "batchpart_forward": _batchpart,
    "batchpart_sums": _batchpart_sums,
    "batchpart_join_sums": lambda draw, rng, parts, C: dict(sums=draw(parts, 2, C).astype(np.float64)),
    "batchpart_backward": _batchpart_backward,
    "conv_forward": _conv,
    "gelu_forward": _elements("x"),
    "relu_forward": _elements("x"),
    "attention_forward": _queries,
    "attention_weights": _weights,
    "pool_forward": _pool,
    "vector_add": _elements("x", "z"),
    "vector_accumulate": _elements("y", "x"),
    "vector_scale": lambda draw, rng, n: dict(x=draw(n), a=0.3),
    "normalize_forward": lambda draw, rng, B, C: dict(x=draw(B, C)),
    "infonce": _infonce,
    "bce": _bce,
    "adamw": _adamw,
    "vector_square_sum": _elements("x"),
}


class Gradient(NamedTuple):
    """How a forward operation's arguments and outputs become those of its backward operation."""

    backward: str
    inputs: tuple  # the arguments that its results are the gradients of, in order
    saved: tuple  # the names of the forward outputs after y
    takes: tuple  # its arguments after dy: names of forward arguments, "y" or saved ones


GRADIENTS = {
    "linear_forward": Gradient("linear_backward", ("x", "w", "bias"), (), ("x", "w")),
    "packed_forward": Gradient("packed_backward", ("x", "w", "bias"), (), ("x", "w")),
    "tokens_forward": Gradient(
        "tokens_backward", ("w", "lead", "temporal"), (), ("patches", "lead_id", "segment", "M")
    ),
    "layernorm_forward": Gradient(
        "layernorm_backward", ("x", "gain", "bias"), ("mean", "rstd"), ("x", "mean", "rstd", "gain")
    ),
    "batchnorm_forward": Gradient(
        "batchnorm_backward", ("x", "gain", "bias"), ("mean", "rstd"), ("x", "mean", "rstd", "gain")
    ),
    "conv_forward": Gradient("conv_backward", ("x", "w"), (), ("x", "w", "stride")),
    "gelu_forward": Gradient("gelu_backward", ("x",), (), ("x",)),
    "relu_forward": Gradient("relu_backward", ("x",), (), ("y",)),
    "attention_forward": Gradient("attention_backward", ("q", "k", "v"), (), ("q", "k", "v")),
    "pool_forward": Gradient("pool_backward", ("x",), (), ("offset",)),
    "normalize_forward": Gradient("normalize_backward", ("x",), ("rnorm",), ("y", "rnorm")),
}
