"""The C operations as NumPy functions, reached through ctypes, with the signatures of tests/twins.py.

Argument types are read from csrc/ops/ops.h, so that no signature is written twice. Every array goes to C
inside a buffer with guard zones on both sides; outputs start as NaN. After the call a touched guard or a
changed const array is an AssertionError.
"""

import ctypes
import pathlib
import re

import numpy as np

HEADER = pathlib.Path(__file__).parent.parent / "csrc" / "ops" / "ops.h"
GUARD = 64  # elements on each side


class Dropout(ctypes.Structure):
    _fields_ = [
        ("rate", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("step", ctypes.c_uint32),
        ("site", ctypes.c_uint64),
    ]


def signatures():
    """{operation: (result, [(type, name, is const)])} of ops.h, in the order of its table."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)
    table = re.search(r"#define KM_OPERATIONS\(X\)(.*?)\n\n", text, flags=re.S).group(1)
    found = {}
    for result, name, arguments in re.findall(r"^(\w+) km_(\w+)\(([^;]*?)\);", text, flags=re.M):
        found[name] = result, []
        for argument in arguments.split(","):
            words = argument.replace("*", " * ").split()
            kind = " ".join(word for word in words[:-1] if word != "const")
            found[name][1].append((kind, words[-1], words[0] == "const"))
    return {name: found[name] for name in re.findall(r"X\((\w+)\)", table)}


def aligned_empty(n, dtype):
    """n elements from a 64-byte boundary on."""
    size = np.dtype(dtype).itemsize
    raw = np.empty(n * size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + n * size].view(dtype)


class Buffer:
    """A copy of an array between two guard zones."""

    def __init__(self, array):
        assert array.flags.c_contiguous
        self.array, self.written = array, False
        self.whole = aligned_empty(array.size + 2 * GUARD, array.dtype)
        self.whole.view(np.uint8)[:] = 0xA5
        self.inside = self.whole[GUARD : GUARD + array.size]
        self.inside[:] = array.ravel()

    def check(self, name):
        for zone in (self.whole[:GUARD], self.whole[GUARD + self.array.size :]):
            assert (zone.view(np.uint8) == 0xA5).all(), f"{name} was written out of bounds"
        if self.written:
            self.array[...] = self.inside.reshape(self.array.shape)
        else:
            assert self.inside.tobytes() == self.array.tobytes(), f"const {name} was changed"


def root(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def slice_like(x, whole):
    """The part of whole that x is of its own root array."""
    return np.ndarray(x.shape, x.dtype, whole, x.ctypes.data - root(x).ctypes.data, x.strides)


class Operations:
    """operations.<name>(...) takes and returns what twins.<name> does; operations.call(name, ...) is the C
    call."""

    SCALARS = {
        "int": ctypes.c_int,
        "double": ctypes.c_double,
        "size_t": ctypes.c_size_t,
        "int64_t": ctypes.c_int64,
        "void": None,
    }
    POINTERS = {"double *": np.float64, "int32_t *": np.int32, "int64_t *": np.int64}

    def __init__(self, core, bf16=False):
        addresses = core.operations(bf16)
        self.signatures = signatures()
        assert list(addresses) == list(self.signatures), "the table of ops.h and of the module differ"
        self.real = np.dtype(core.build_info()["real"])
        c_real = {4: ctypes.c_float, 8: ctypes.c_double}[self.real.itemsize]
        self.scalars = dict(self.SCALARS, km_real=c_real)
        self.functions = {}
        for name, (result, arguments) in self.signatures.items():
            types = [self.scalars.get(kind, ctypes.c_void_p) for kind, _, _ in arguments]
            self.functions[name] = ctypes.CFUNCTYPE(self.scalars[result], *types)(addresses[name])

    def call(self, name, *values):
        """The C function on NumPy arrays (views of C-contiguous arrays; None is NULL), guarded."""
        buffers, arguments = {}, []
        assert len(values) == len(self.signatures[name][1]), (
            f"{name} takes {len(self.signatures[name][1])} arguments"
        )
        for value, (kind, label, const) in zip(values, self.signatures[name][1], strict=True):
            if kind in self.scalars or value is None:
                arguments.append(value)
            elif kind == "km_dropout *":
                arguments.append(ctypes.cast(ctypes.pointer(value), ctypes.c_void_p))
            else:
                dtype = self.real if kind == "km_real *" else np.dtype(self.POINTERS[kind])
                assert value.dtype == dtype, f"{label} is {value.dtype}, {name} takes {dtype}"
                whole = root(value)
                buffer, _ = buffers.setdefault(id(whole), (Buffer(whole), label))
                buffer.written |= not const
                offset = value.ctypes.data - whole.ctypes.data
                arguments.append(buffer.inside.ctypes.data + offset)
        result = self.functions[name](*arguments)
        for buffer, label in buffers.values():
            buffer.check(f"{label} of {name}")
        return result

    def new(self, *shape):
        return np.full(shape, np.nan, self.real)

    def zeros(self, *shape):
        return np.zeros(shape, self.real)

    def gemm(self, y, a, b, alpha, beta, a_transposed=False, b_transposed=False):
        y = y.copy()
        K = a.shape[0] if a_transposed else a.shape[1]
        self.call(
            "gemm",
            y,
            y.shape[1],
            a,
            a.shape[1],
            a_transposed,
            b,
            b.shape[1],
            b_transposed,
            y.shape[0],
            y.shape[1],
            K,
            alpha,
            beta,
        )
        return y

    def linear_forward(self, x, w, bias=None):
        y = self.new(len(x), len(w))
        self.call("linear_forward", y, x, w, bias, len(x), *w.shape)
        return y

    def packed(self, w, backward):
        packed = self.new(self.call("packed_size", *w.shape))
        self.call("packed_weight", packed, w, *w.shape, backward)
        return packed

    def packed_forward(self, x, w, bias=None):
        y = self.new(len(x), len(w))
        self.call("packed_forward", y, x, self.packed(w, 0), bias, len(x), *w.shape)
        return y

    def linear_backward(self, dy, x, w, into=None, add=0):
        dx, dw, dbias = into or (self.new(*x.shape), self.zeros(*w.shape), self.zeros(len(w)))
        self.call("linear_backward", dx, dw, dbias, dy, x, w, len(x), *w.shape, add)
        return dx, dw, dbias

    def packed_backward(self, dy, x, w, into=None, add=0):
        dx, dw, dbias = into or (self.new(*x.shape), self.zeros(*w.shape), self.zeros(len(w)))
        self.call("packed_backward", dx, dw, dbias, dy, x, self.packed(w, 1), len(x), *w.shape, add)
        return dx, dw, dbias

    def tokens_forward(self, patches, lead_id, segment, w, lead=None, temporal=None):
        x = self.new(len(patches), len(w))
        self.call("tokens_forward", x, patches, lead_id, segment, w, lead, temporal, len(x), *w.shape)
        return x

    def tokens_backward(self, dx, patches, lead_id, segment, M, into=None):
        (T, C), P = dx.shape, patches.shape[1]
        dw, dlead, dtemporal = into or (self.zeros(C, P), self.zeros(12, C), self.zeros(M, C))
        self.call("tokens_backward", dw, dlead, dtemporal, dx, patches, lead_id, segment, T, C, P)
        return dw, dlead, dtemporal

    def layernorm_forward(self, x, gain, bias, eps):
        y, mean, rstd = self.new(*x.shape), self.new(len(x)), self.new(len(x))
        self.call("layernorm_forward", y, mean, rstd, x, gain, bias, *x.shape, eps)
        return y, mean, rstd

    def layernorm_backward(self, dy, x, mean, rstd, gain, into=None, add=0):
        T, C = x.shape
        dx, dgain, dbias = into or (self.new(T, C), self.zeros(C), self.zeros(C))
        self.call("layernorm_backward", dx, dgain, dbias, dy, x, mean, rstd, gain, T, C, add)
        return dx, dgain, dbias

    def batchnorm_forward(self, x, gain, bias, running_mean, running_var, eps, momentum):
        (B, C), running_mean, running_var = x.shape, running_mean.copy(), running_var.copy()
        y, mean, rstd = self.new(B, C), self.new(C), self.new(C)
        self.call(
            "batchnorm_forward", y, mean, rstd, running_mean, running_var, x, gain, bias, B, C, eps, momentum
        )
        return y, mean, rstd, running_mean, running_var

    def batchnorm_backward(self, dy, x, mean, rstd, gain, into=None):
        B, C = x.shape
        dx, dgain, dbias = into or (self.new(B, C), self.zeros(C), self.zeros(C))
        self.call("batchnorm_backward", dx, dgain, dbias, dy, x, mean, rstd, gain, B, C)
        return dx, dgain, dbias

    def batchnorm_apply(self, x, running_mean, running_var, gain, bias, eps):
        y = self.new(*x.shape)
        self.call("batchnorm_apply", y, x, running_mean, running_var, gain, bias, *x.shape, eps)
        return y

    def batchpart_moments(self, x):
        moments = np.full((2, x.shape[1]), np.nan)
        self.call("batchpart_moments", moments, x, *x.shape)
        return moments

    def batchpart_join(self, moments, running_mean, running_var, T, momentum):
        parts, _, C = moments.shape
        mean, var, running_mean, running_var = self.new(C), self.new(C), running_mean.copy(), running_var.copy()
        self.call("batchpart_join", mean, var, running_mean, running_var, moments, parts, T, C, momentum)
        return mean, var, running_mean, running_var

    def batchpart_forward(self, x, mean, var, gain, bias, residual, eps, relu):
        y = self.new(*x.shape)
        self.call("batchpart_forward", y, x, mean, var, gain, bias, residual, *x.shape, eps, relu)
        return y

    def batchpart_sums(self, dy, y, x, mean, var, eps):
        sums, dy = np.full((2, x.shape[1]), np.nan), dy.copy()
        self.call("batchpart_sums", sums, dy, y, x, mean, var, *x.shape, eps)
        return dy, sums

    def batchpart_join_sums(self, sums):
        parts, _, C = sums.shape
        total, dgain, dbias = np.full((2, C), np.nan), self.zeros(C), self.zeros(C)
        self.call("batchpart_join_sums", total, dgain, dbias, sums, parts, C)
        return total, dgain, dbias

    def batchpart_backward(self, dy, x, mean, var, gain, total, rows, eps):
        dx = self.new(*x.shape)
        self.call("batchpart_backward", dx, dy, x, mean, var, gain, total, rows, *x.shape, eps)
        return dx

    def _conv(self, x, w):
        """C, N, K and scratch."""
        K = w.shape[1] // x.shape[1]
        return x.shape[1], len(w), K, self.new(self.call("conv_scratch", x.shape[1], K))

    def conv_forward(self, x, w, stride):
        C, N, K, scratch = self._conv(x, w)
        y = self.new((len(x) - 1) // stride + 1, N)
        self.call("conv_forward", y, scratch, x, w, len(x), C, N, K, stride)
        return y

    def conv_backward(self, dy, x, w, stride, into=None, add=0):
        C, N, K, scratch = self._conv(x, w)
        dx, dw = into or (self.new(*x.shape), self.zeros(*w.shape))
        self.call("conv_backward", dx, dw, scratch, dy, x, w, len(x), C, N, K, stride, add)
        return dx, dw

    def gelu_forward(self, x):
        y = self.new(*x.shape)
        self.call("gelu_forward", y, x, x.size)
        return y

    def gelu_backward(self, dy, x):
        dx = self.new(*x.shape)
        self.call("gelu_backward", dx, dy, x, x.size)
        return dx

    def relu_forward(self, x):
        y = self.new(*x.shape)
        self.call("relu_forward", y, x, x.size)
        return y

    def relu_backward(self, dy, y):
        dx = self.new(*y.shape)
        self.call("relu_backward", dx, dy, y, y.size)
        return dx

    def scratch(self, q, k):
        return self.new(self.call("attention_scratch", len(q), len(k), q.shape[2]))

    @staticmethod
    def stride(x):
        """Elements from one row of (T, H, E) to the next, whatever the array it is a slice of."""
        return x.strides[0] // x.itemsize

    def attention_forward(self, q, k, v, dropout=None):
        (Tq, H, E), out, lse = q.shape, self.new(*q.shape), self.new(q.shape[1], len(q))
        self.call(
            "attention_forward",
            out,
            lse,
            self.scratch(q, k),
            q,
            k,
            v,
            Tq,
            len(k),
            H,
            E,
            self.stride(q),
            self.stride(k),
            self.stride(out),
            dropout or Dropout(),
        )
        return out, lse

    def attention_backward(self, dout, q, k, v, dropout=None):
        """dq, dk, dv; the saved tensors come from the C forward pass."""
        (Tq, H, E), (out, lse) = q.shape, self.attention_forward(q, k, v, dropout)
        wholes = {id(root(x)): self.new(*root(x).shape) for x in (q, k, v)}
        dq, dk, dv = (slice_like(x, wholes[id(root(x))]) for x in (q, k, v))
        self.call(
            "attention_backward",
            dq,
            dk,
            dv,
            self.scratch(q, k),
            dout,
            out,
            lse,
            q,
            k,
            v,
            Tq,
            len(k),
            H,
            E,
            self.stride(q),
            self.stride(k),
            self.stride(out),
            dropout or Dropout(),
        )
        return dq, dk, dv

    def attention_weights(self, q, k):
        (Tq, H, E), weights = q.shape, self.new(len(q), len(k))
        self.call(
            "attention_weights",
            weights,
            self.scratch(q, k),
            q,
            k,
            Tq,
            len(k),
            H,
            E,
            self.stride(q),
            self.stride(k),
        )
        return weights

    def dropout_forward(self, x, dropout):
        y = self.new(*x.shape)
        self.call("dropout_forward", y, x, x.size, dropout)
        return y

    def pool_forward(self, x, offset):
        y = self.new(len(offset) - 1, x.shape[1])
        self.call("pool_forward", y, x, offset, *y.shape)
        return y

    def pool_backward(self, dy, offset, into=None, add=0):
        (dx,) = into or (self.new(offset[-1], dy.shape[1]),)
        self.call("pool_backward", dx, dy, offset, *dy.shape, add)
        return dx

    def vector_add(self, x, z):
        y = self.new(*x.shape)
        self.call("vector_add", y, x, z, x.size)
        return y

    def vector_accumulate(self, y, x):
        y = y.copy()
        self.call("vector_accumulate", y, x, x.size)
        return y

    def vector_scale(self, x, a):
        x = x.copy()
        self.call("vector_scale", x, a, x.size)
        return x

    def normalize_forward(self, x):
        y, rnorm = self.new(*x.shape), self.new(len(x))
        self.call("normalize_forward", y, rnorm, x, *x.shape)
        return y, rnorm

    def normalize_backward(self, dy, y, rnorm):
        dx = self.new(*y.shape)
        self.call("normalize_backward", dx, dy, y, rnorm, *y.shape)
        return dx

    def infonce(self, ecg, text, scale, same_text=None, directions=2, positive=1):
        B, C = ecg.shape
        d_ecg, d_text, d_scale = self.new(B, C), self.new(B, C), np.zeros(1)
        loss = self.call(
            "infonce",
            d_ecg,
            d_text,
            d_scale,
            self.new(2 * B * B + 2 * B),
            ecg,
            text,
            scale,
            same_text,
            B,
            C,
            directions,
            positive,
        )
        return loss, d_ecg, d_text, d_scale[0]

    def bce(self, z, y, weight):
        dz = self.new(*z.shape)
        return self.call("bce", dz, z, y, weight, z.size), dz

    def adamw(self, w, m, v, gradient, clip, lr, b1, b2, eps, decay, step):
        w, m, v = w.copy(), m.copy(), v.copy()
        self.call("adamw", w, m, v, gradient, w.size, clip, lr, b1, b2, eps, decay, step)
        return w, m, v

    def vector_square_sum(self, x):
        return self.call("vector_square_sum", x, x.size)
