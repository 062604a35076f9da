"""The arithmetic of csrc/ops/ops.h a second time: one short NumPy float64 function an operation.

Written from the formulas alone, never from the C code. Arguments and letters are those of ops.h, without
sizes and strides; a function returns what the operation writes. Parameter gradients are returned as what one
call adds. Arrays are float64, heads a dimension of their own: q (Tq, H, E), k and v (Tk, H, E).
"""

import math

import numpy as np

_erf = np.vectorize(math.erf, otypes=[np.float64])


def gemm(y, a, b, alpha, beta, a_transposed=False, b_transposed=False):
    product = (a.T if a_transposed else a) @ (b.T if b_transposed else b)
    return alpha * product + (beta * y if beta else 0.0)


def linear_forward(x, w, bias=None):
    return x @ w.T + (0.0 if bias is None else bias)


def linear_backward(dy, x, w):
    """dx, dw, dbias."""
    return dy @ w, dy.T @ x, dy.sum(0)


packed_forward, packed_backward = linear_forward, linear_backward  # w comes as it is: the order is C's own


def tokens_forward(patches, lead_id, segment, w, lead=None, temporal=None):
    x = patches @ w.T
    if lead is not None:
        x = x + lead[lead_id]
    if temporal is not None:
        x = x + temporal[segment]
    return x


def tokens_backward(dx, patches, lead_id, segment, M):
    """dw, dlead, dtemporal."""
    dlead, dtemporal = np.zeros((12, dx.shape[1])), np.zeros((M, dx.shape[1]))
    for t in range(len(dx)):
        dlead[lead_id[t]] += dx[t]
        dtemporal[segment[t]] += dx[t]
    return dx.T @ patches, dlead, dtemporal


def layernorm_forward(x, gain, bias, eps):
    """y, mean, rstd."""
    mean = x.mean(1)
    rstd = 1.0 / np.sqrt(((x - mean[:, None]) ** 2).mean(1) + eps)
    return (x - mean[:, None]) * rstd[:, None] * gain + bias, mean, rstd


def layernorm_backward(dy, x, mean, rstd, gain):
    """dx, dgain, dbias.  With n = (x - mean) rstd: dn_j/dx_i = rstd (delta_ij - 1/C - n_i n_j / C)."""
    C = x.shape[1]
    n = (x - mean[:, None]) * rstd[:, None]
    dx = np.empty_like(x)
    for t in range(len(x)):
        jacobian = rstd[t] * (np.eye(C) - 1.0 / C - np.outer(n[t], n[t]) / C)
        dx[t] = jacobian @ (dy[t] * gain)
    return dx, (dy * n).sum(0), dy.sum(0)


def batchnorm_forward(x, gain, bias, running_mean, running_var, eps, momentum):
    """y, mean, rstd, running_mean, running_var.  Normalised by the biased variance, remembered by the
    unbiased; of a single row there is no unbiased variance: the biased one, 0."""
    B = len(x)
    mean, var = x.mean(0), x.var(0)
    rstd = 1.0 / np.sqrt(var + eps)
    unbiased = var * B / (B - 1) if B > 1 else var
    return (
        (x - mean) * rstd * gain + bias,
        mean,
        rstd,
        (1 - momentum) * running_mean + momentum * mean,
        (1 - momentum) * running_var + momentum * unbiased,
    )


def batchnorm_backward(dy, x, mean, rstd, gain):
    """dx, dgain, dbias."""
    B = len(x)
    n = (x - mean) * rstd
    dx = np.empty_like(x)
    for c in range(x.shape[1]):
        jacobian = rstd[c] * (np.eye(B) - 1.0 / B - np.outer(n[:, c], n[:, c]) / B)
        dx[:, c] = jacobian @ (dy[:, c] * gain[c])
    return dx, (dy * n).sum(0), dy.sum(0)


def batchnorm_apply(x, running_mean, running_var, gain, bias, eps):
    return (x - running_mean) / np.sqrt(running_var + eps) * gain + bias


def batchpart_moments(x):
    """(2, C): means, and sums of squared deviations."""
    return np.stack([x.mean(0), ((x - x.mean(0)) ** 2).sum(0)])


def batchpart_join(moments, running_mean, running_var, T, momentum):
    """mean, var, running_mean, running_var of parts of T rows with these moments (parts, 2, C)."""
    rows = T * len(moments)
    mean = moments[:, 0].mean(0)
    square = (moments[:, 1] + T * (moments[:, 0] - mean) ** 2).sum(0)
    return (
        mean,
        square / rows,
        (1 - momentum) * running_mean + momentum * mean,
        (1 - momentum) * running_var + momentum * square / max(rows - 1, 1),
    )


def batchpart_forward(x, mean, var, gain, bias, residual, eps, relu):
    y = (x - mean) / np.sqrt(var + eps) * gain + bias + (0.0 if residual is None else residual)
    return np.maximum(y, 0.0) if relu else y


def batchpart_sums(dy, y, x, mean, var, eps):
    """dy where y is more than 0, and sums (2, C)."""
    dy = dy if y is None else np.where(y > 0, dy, 0.0)
    return dy, np.stack([dy.sum(0), (dy * (x - mean) / np.sqrt(var + eps)).sum(0)])


def batchpart_join_sums(sums):
    """total, dgain, dbias."""
    total = sums.sum(0)
    return total, total[1], total[0]


def batchpart_backward(dy, x, mean, var, gain, total, rows, eps):
    n = (x - mean) / np.sqrt(var + eps)
    return gain / np.sqrt(var + eps) * (dy - total[0] / rows - n * total[1] / rows)


def _seen(x, K, stride):
    """(T, K, C): what each output sees of x (L, C), zeros around it."""
    padded = np.pad(x, ((K // 2, K // 2), (0, 0)))
    return np.stack([padded[t : t + K] for t in range(0, len(x), stride)])


def conv_forward(x, w, stride):
    """w (N, K C)."""
    K = w.shape[1] // x.shape[1]
    return np.einsum("tkc,nkc->tn", _seen(x, K, stride), w.reshape(len(w), K, -1), optimize=True)


def conv_backward(dy, x, w, stride):
    """dx, dw."""
    (L, C), K = x.shape, w.shape[1] // x.shape[1]
    dpadded = np.zeros((L + 2 * (K // 2), C))
    for t in range(len(dy)):
        dpadded[t * stride : t * stride + K] += (dy[t] @ w).reshape(K, C)
    dw = np.einsum("tn,tkc->nkc", dy, _seen(x, K, stride), optimize=True)
    return dpadded[K // 2 : K // 2 + L], dw.reshape(w.shape)


def gelu_forward(x):
    return 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)))


def gelu_backward(dy, x):
    Phi = 0.5 * (1.0 + _erf(x / math.sqrt(2.0)))
    phi = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return dy * (Phi + x * phi)


def relu_forward(x):
    return np.maximum(x, 0.0)


def relu_backward(dy, y):
    return np.where(y > 0, dy, 0.0)


def _softmax(q, k):
    """Probabilities (H, Tq, Tk) and the log of their denominators (H, Tq)."""
    s = np.einsum("ihe,jhe->hij", q, k) / math.sqrt(q.shape[2])
    top = s.max(2, keepdims=True)
    total = np.exp(s - top).sum(2, keepdims=True)
    return np.exp(s - top) / total, (top + np.log(total))[:, :, 0]


def attention_forward(q, k, v, keep=1.0):
    """out, lse.  keep (H, Tq, Tk): the dropout mask with its scale, 0 or 1 / (1 - rate)."""
    p, lse = _softmax(q, k)
    return np.einsum("hij,jhe->ihe", p * keep, v), lse


def attention_backward(dout, q, k, v, keep=1.0):
    """dq, dk, dv."""
    p, _ = _softmax(q, k)
    dp = np.einsum("ihe,jhe->hij", dout, v) * keep
    ds = p * (dp - (p * dp).sum(2, keepdims=True)) / math.sqrt(q.shape[2])
    return (
        np.einsum("hij,jhe->ihe", ds, k),
        np.einsum("hij,ihe->jhe", ds, q),
        np.einsum("hij,ihe->jhe", p * keep, dout),
    )


def attention_weights(q, k):
    return _softmax(q, k)[0].mean(0)


def pool_forward(x, offset):
    return np.stack([x[offset[b] : offset[b + 1]].mean(0) for b in range(len(offset) - 1)])


def pool_backward(dy, offset):
    counts = np.diff(offset)
    return np.repeat(dy / counts[:, None], counts, axis=0)


def vector_add(x, z):
    return x + z


def vector_accumulate(y, x):
    return y + x


def vector_scale(x, a):
    return a * x


def normalize_forward(x):
    """y, rnorm."""
    rnorm = 1.0 / np.maximum(np.sqrt((x * x).sum(1)), 1e-12)
    return x * rnorm[:, None], rnorm


def normalize_backward(dy, y, rnorm):
    return rnorm[:, None] * (dy - y * (dy * y).sum(1, keepdims=True))


def infonce(ecg, text, scale, same_text=None, directions=2, positive=1):
    """loss, d_ecg, d_text, d_scale.  Row by row: loss_i = log sum_j in D_i exp(s_ij) - s_ii, D_i the
    denominator."""
    B = len(ecg)
    cosine = ecg @ text.T
    allowed = np.ones((B, B), bool)
    if same_text is not None:
        allowed = same_text[:, None] != same_text[None, :]
    allowed[np.diag_indices(B)] = bool(positive)

    def one_way(s, allowed):
        loss, ds = 0.0, np.zeros_like(s)
        for i in range(B):
            if not allowed[i].any():
                continue
            row = s[i, allowed[i]]
            top = row.max()
            total = np.exp(row - top).sum()
            loss += (top + np.log(total) - s[i, i]) / B
            ds[i, allowed[i]] = np.exp(row - top) / total / B
            ds[i, i] -= 1.0 / B
        return loss, ds

    e2t, ds = one_way(scale * cosine, allowed)
    t2e, ds_columns = one_way(scale * cosine.T, allowed.T)
    both = {2: (1.0, 1.0), 1: (0.5, 0.5), 0: (1.0, 0.0)}[directions]
    ds = both[0] * ds + both[1] * ds_columns.T
    return both[0] * e2t + both[1] * t2e, scale * ds @ text, scale * ds.T @ ecg, (ds * cosine).sum()


def bce(z, y, weight):
    """sum, dz.  -y log p - (1 - y) log(1 - p) with p = 1 / (1 + exp(-z)), through log(1 + exp)."""
    loss = y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)
    return loss.sum(), weight * (np.exp(-np.logaddexp(0, -z)) - y)


def adamw(w, m, v, gradient, clip, lr, b1, b2, eps, decay, step):
    """w, m, v after one step."""
    g = gradient * clip
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * g * g
    m_hat, v_hat = m / (1 - b1**step), v / (1 - b2**step)
    return w - lr * decay * w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def vector_square_sum(x):
    return float((x * x).sum())
