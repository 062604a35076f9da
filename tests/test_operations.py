"""Every operation of csrc/ops/ops.h: against its NumPy twin, its gradient against central differences."""

import numpy as np
import pytest
import twins
from cases import CASES, GRADIENTS, SIZES, arguments
from operations import Dropout, Operations, signatures

DIFFERENTIATED = [case for case in CASES if case.operation in GRADIENTS]


@pytest.fixture(scope="module")
def float32(core):
    return Operations(core)


@pytest.fixture(scope="module")
def float64(core64):
    return Operations(core64)


@pytest.fixture(params=["float32", "float64"])
def operations(request):
    return request.getfixturevalue(request.param)


def tolerance(operations):
    return 1e-5 if operations.real == np.float32 else 1e-12


def assert_close(got, expected, tolerance, what="", floor=1e-30):
    """Every entry within tolerance of the array's largest (or of floor, where all but rounding is 0)."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, what
    error = np.abs(got - expected).max() / max(np.abs(expected).max(), floor)
    assert error <= tolerance, f"{what}: relative error {error:.2e}, allowed {tolerance:.0e}"  # NaN fails too


def as_tuple(x):
    return x if isinstance(x, tuple) else (x,)


def double(values):
    """Arguments for a twin: real arrays in float64."""
    return {
        name: x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for name, x in values.items()
    }


def backward_arguments(case, given, outputs, dy):
    rule = GRADIENTS[case.operation]
    known = dict(given, M=50, **dict(zip(("y",) + rule.saved, outputs, strict=False)))
    return dict(dy=dy, **{name: known[name] for name in rule.takes})


def call_backward(table, case, given, outputs, dy):
    """{input: its gradient} from the C operations or the twins."""
    rule = GRADIENTS[case.operation]
    values = backward_arguments(case, given, outputs, dy)
    gradients = as_tuple(getattr(table, rule.backward)(*values.values()))
    return {
        name: gradient
        for name, gradient in zip(rule.inputs, gradients, strict=True)
        if given[name] is not None
    }


def test_every_operation_has_a_twin_and_a_case():
    backward = {rule.backward for rule in GRADIENTS.values()}
    for name in signatures():
        if name in (
            "attention_scratch",
            "conv_scratch",
            "packed_size",
            "packed_weight",
            "dropout_forward",
        ):  # no arithmetic; tested through their properties below
            continue
        assert hasattr(twins, name), f"{name} has no twin"
        assert name in SIZES or name in backward, f"{name} has no case"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_twin(operations, case):
    given = arguments(case, operations.real)
    got = as_tuple(getattr(operations, case.operation)(**given))
    expected = as_tuple(getattr(twins, case.operation)(**double(given)))
    assert len(got) == len(expected)
    for i, (g, e) in enumerate(zip(got, expected, strict=True)):
        assert_close(g, e, tolerance(operations), f"output {i}")


@pytest.mark.parametrize("case", DIFFERENTIATED, ids=str)
def test_backward_agrees_with_twin(operations, case):
    given = arguments(case, operations.real)
    outputs = [x.astype(operations.real) for x in as_tuple(getattr(twins, case.operation)(**double(given)))]
    dy = np.random.default_rng(1).standard_normal(outputs[0].shape, np.float32).astype(operations.real)
    got = call_backward(operations, case, given, outputs, dy)
    expected = call_backward(
        twins, case, double(given), [x.astype(np.float64) for x in outputs], dy.astype(np.float64)
    )
    floor = np.abs(dy).max() if case.sizes.get("Tk") == 1 else 1e-30  # softmax of one score: no gradient
    for name in expected:
        assert_close(got[name], expected[name], 2 * tolerance(operations), f"d{name}", floor)


def central_difference(f, h):
    """f'(0), error O(h^4)."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


@pytest.mark.parametrize("case", DIFFERENTIATED, ids=str)
def test_gradient_agrees_with_central_differences(float64, case):
    """d/dh sum(dy y(x + h u)) = sum(dx u), for a random direction u of each input."""
    given = arguments(case, np.float64)
    if case.operation == "relu_forward":  # not differentiable at 0
        given["x"] += np.sign(given["x"]) * 0.1
    forward = getattr(float64, case.operation)
    outputs = as_tuple(forward(**given))
    two_rows = case.operation == "batchnorm_forward" and case.sizes["B"] == 2  # they may be close together
    h = 1e-5 if two_rows else 1e-3
    rng = np.random.default_rng(2)
    dy = rng.standard_normal(outputs[0].shape)
    gradients = call_backward(float64, case, given, outputs, dy)
    for name, gradient in gradients.items():
        for _ in range(3):
            u, at = rng.standard_normal(gradient.shape), given[name].copy()

            def shifted(h, x=given[name], at=at, u=u):
                x[...] = at + h * u  # in place: q, k and v stay slices of one array
                return (as_tuple(forward(**given))[0] * dy).sum()

            size = np.sqrt((gradient**2).sum() * (u**2).sum() / u.size)  # what sum(dx u) amounts to
            error = abs(central_difference(shifted, h) - (gradient * u).sum())
            given[name][...] = at
            assert error <= 1e-8 * max(size, 0.1), f"d{name}: {error:.1e} of {size:.1e}"


@pytest.mark.parametrize("case", [case for case in CASES if case.operation == "infonce"], ids=str)
def test_infonce_gradient_agrees_with_central_differences(float64, case):
    given = arguments(case, np.float64)
    gradients = dict(zip(("ecg", "text", "scale"), float64.infonce(**given)[1:], strict=True))
    rng = np.random.default_rng(3)
    for name, gradient in gradients.items():
        u = rng.standard_normal(np.shape(gradient))

        def shifted(h, name=name, u=u):
            return float64.infonce(**{**given, name: given[name] + h * u})[0]

        value = central_difference(shifted, 1e-5)
        assert abs(value - (gradient * u).sum()) <= 1e-8 * max(np.abs(gradient).max() * np.size(u), 1.0), name


def test_bce_gradient_agrees_with_central_differences(float64):
    given = arguments(
        next(case for case in CASES if case.operation == "bce" and case.sizes["n"] == 17), np.float64
    )
    _, dz = float64.bce(**given)
    for i in range(17):

        def shifted(h, u=np.eye(17)[i]):  # noqa: B008
            return float64.bce(given["z"] + h * u, given["y"], 1.0)[0]

        value = central_difference(shifted, 1e-3)
        assert abs(given["weight"] * value - dz[i]) < 1e-10


# What a twin does not say: what is added to, what may be NULL, what may be in place, strides, dropout.


@pytest.mark.parametrize(
    "forward, activations, add",
    [
        ("linear_forward", 1, 0),
        ("linear_forward", 1, 1),
        ("packed_forward", 1, 0),
        ("packed_forward", 1, 1),
        ("tokens_forward", 0, None),
        ("layernorm_forward", 1, 0),
        ("layernorm_forward", 1, 1),
        ("batchnorm_forward", 1, None),
        ("pool_forward", 1, 0),
        ("pool_forward", 1, 1),
        ("conv_forward", 1, 0),
        ("conv_forward", 1, 1),
    ],
)
def test_gradients_of_parameters_accumulate_and_of_activations_are_assigned(
    operations, forward, activations, add
):
    case = next(case for case in CASES if case == (forward, SIZES[forward][-1]))
    given = arguments(case, operations.real)
    outputs = [x.astype(operations.real) for x in as_tuple(getattr(twins, forward)(**double(given)))]
    rng = np.random.default_rng(4)
    dy = rng.standard_normal(outputs[0].shape, np.float32).astype(operations.real)
    values = backward_arguments(case, given, outputs, dy).values()
    backward = getattr(operations, GRADIENTS[forward].backward)
    once = as_tuple(backward(*values))
    start = [rng.standard_normal(x.shape, np.float32).astype(operations.real) for x in once]
    again = as_tuple(
        backward(*values, into=[x.copy() for x in start], **({} if add is None else {"add": add}))
    )
    for i, (before, alone, after) in enumerate(zip(start, once, again, strict=True)):
        added = i >= activations or add
        assert_close(after, alone + before if added else alone, 2 * tolerance(operations), f"result {i}")


def test_linear_backward_leaves_out_what_is_null(operations):
    rng = np.random.default_rng(5)
    dy, x, w = (rng.standard_normal(shape).astype(operations.real) for shape in [(9, 5), (9, 7), (5, 7)])
    dx, dw, dbias = twins.linear_backward(*(a.astype(np.float64) for a in (dy, x, w)))
    for left_out in range(3):
        into = [operations.new(9, 7), operations.zeros(5, 7), operations.zeros(5)]
        into[left_out] = None
        operations.call("linear_backward", *into, dy, x, w, 9, 5, 7, 0)
        for i, (got, expected) in enumerate(zip(into, (dx, dw, dbias), strict=True)):
            if i != left_out:
                assert_close(got, expected, tolerance(operations), f"result {i} without {left_out}")


@pytest.mark.parametrize("T, N, K", [(1, 1, 1), (3, 40, 7), (5, 17, 530), (60, 530, 300)])
def test_packed_weights_change_no_bit(operations, T, N, K):
    rng = np.random.default_rng(8)
    x, w, bias, dy = (rng.standard_normal(s).astype(operations.real) for s in [(T, K), (N, K), N, (T, N)])
    packed, plain = operations.packed_forward(x, w, bias), operations.linear_forward(x, w, bias)
    assert packed.tobytes() == plain.tobytes()
    both = zip(operations.packed_backward(dy, x, w), operations.linear_backward(dy, x, w), strict=True)
    assert all(a.tobytes() == b.tobytes() for a, b in both)


def test_tokens_backward_leaves_out_embeddings_that_are_null(operations):
    given = arguments(
        next(case for case in CASES if case.operation == "tokens_forward" and case.sizes["C"] == 7),
        operations.real,
    )
    dx = np.ones((5, 7), operations.real)
    dw = operations.zeros(7, 3)
    operations.call(
        "tokens_backward", dw, None, None, dx, given["patches"], given["lead_id"], given["segment"], 5, 7, 3
    )
    assert_close(dw, dx.T.astype(np.float64) @ given["patches"], tolerance(operations))


@pytest.mark.parametrize("ta, tb", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm_honours_row_strides_and_does_not_read_y_when_beta_is_0(operations, ta, tb):
    M, N, K, rng = 13, 37, 29, np.random.default_rng(6)
    a = rng.standard_normal(((K, M + 3) if ta else (M, K + 3)), np.float32).astype(operations.real)
    b = rng.standard_normal(((N, K + 5) if tb else (K, N + 5)), np.float32).astype(operations.real)
    y = operations.new(M, N + 2)
    operations.call("gemm", y, N + 2, a, a.shape[1], ta, b, b.shape[1], tb, M, N, K, 1.0, 0.0)
    a, b = (a[:, :M].T if ta else a[:, :K]), (b[:, :K].T if tb else b[:, :N])
    assert_close(y[:, :N], a.astype(np.float64) @ b.astype(np.float64), tolerance(operations))
    assert np.isnan(y[:, N:]).all(), "wrote between the rows of y"


@pytest.mark.parametrize("relu, shortcut", [(0, 0), (1, 0), (1, 1)])
def test_batch_normalisation_in_parts_is_that_of_the_whole(float64, relu, shortcut):
    """Forward against the twin of batch normalisation, and the gradient against central differences."""
    rng = np.random.default_rng(8)
    parts, T, C, eps = 3, 40, 9, 1e-5
    x, residual = rng.standard_normal((2, parts, T, C)) + 1
    gain, bias = rng.standard_normal((2, C))
    running = np.zeros(C), np.ones(C)

    def forward(x, gain, bias, residual):
        moments = np.stack([float64.batchpart_moments(part) for part in x])
        mean, var, *moved = float64.batchpart_join(moments, *running, T, 0.1)
        y = [
            float64.batchpart_forward(part, mean, var, gain, bias, add if shortcut else None, eps, relu)
            for part, add in zip(x, residual, strict=True)
        ]
        return np.stack(y), mean, var, moved

    y, mean, var, moved = forward(x, gain, bias, residual)
    expected, *_, running_mean, running_var = twins.batchnorm_forward(
        x.reshape(-1, C), gain, bias, *running, eps, 0.1
    )
    expected = expected + residual.reshape(-1, C) * shortcut
    assert_close(y.reshape(-1, C), np.maximum(expected, 0) if relu else expected, 1e-12)
    assert_close(moved[0], running_mean, 1e-12)
    assert_close(moved[1], running_var, 1e-12)

    dy = rng.standard_normal(y.shape)
    parted = [
        float64.batchpart_sums(d, out if relu else None, part, mean, var, eps)
        for d, out, part in zip(dy, y, x, strict=True)
    ]
    total, dgain, dbias = float64.batchpart_join_sums(np.stack([sums for _, sums in parted]))
    dresidual = np.stack([d for d, _ in parted])
    dx = np.stack([
        float64.batchpart_backward(d, part, mean, var, gain, total, parts * T, eps)
        for d, part in zip(dresidual, x, strict=True)
    ])  # fmt: skip
    given = dict(x=x, gain=gain, bias=bias, residual=residual)
    gradients = dict(x=dx, gain=dgain, bias=dbias, residual=dresidual * shortcut)
    for name, gradient in gradients.items():
        u = rng.standard_normal(gradient.shape)

        def shifted(h, name=name, u=u):
            return (forward(**{**given, name: given[name] + h * u})[0] * dy).sum()

        assert abs(central_difference(shifted, 1e-6) - (gradient * u).sum()) < 1e-6, name


def test_batchnorm_without_running_statistics(operations):
    given = arguments(
        next(case for case in CASES if case == ("batchnorm_forward", SIZES["batchnorm_forward"][2])),
        operations.real,
    )
    B, C = given["x"].shape
    y, mean, rstd = operations.new(B, C), operations.new(C), operations.new(C)
    operations.call(
        "batchnorm_forward",
        y,
        mean,
        rstd,
        None,
        None,
        given["x"],
        given["gain"],
        given["bias"],
        B,
        C,
        1e-5,
        0.1,
    )
    for got, expected in zip((y, mean, rstd), operations.batchnorm_forward(**given)[:3], strict=True):
        assert (got == expected).all()


def test_normalisations_of_a_constant_row_are_finite(operations):
    """Variance 0: eps keeps rstd finite.  A row of zeros has no direction: it stays zero."""
    ones = np.ones(8, operations.real)
    y, _, rstd = operations.layernorm_forward(np.full((2, 8), 3, operations.real), ones, ones, 1e-5)
    assert (y == 1).all() and np.allclose(rstd, 1e-5**-0.5)
    y, rnorm = operations.normalize_forward(operations.zeros(2, 8))
    assert (y == 0).all() and np.isfinite(rnorm).all()


def test_batchnorm_of_one_recording_is_finite(operations):
    one = np.ones(4, operations.real)
    results = operations.batchnorm_forward(
        np.full((1, 4), 5, operations.real), one, 2 * one, one, one, 1e-5, 0.1
    )
    assert all(np.isfinite(x).all() for x in results)
    assert (results[0] == 2).all()


def test_losses_stay_finite_at_large_logits(operations):
    z = np.array([-1e4, -100, 0, 100, 1e4], operations.real)
    for label in (0, 1):
        loss, dz = operations.bce(z, np.full(5, label, operations.real), 1.0)
        expected, expected_dz = twins.bce(z.astype(np.float64), np.full(5, label, np.float64), 1.0)
        assert_close(loss, expected, tolerance(operations))
        assert_close(dz, expected_dz, tolerance(operations))
    ecg = np.eye(4, dtype=operations.real)
    results = operations.infonce(ecg, ecg[::-1].copy(), 1e4)
    assert_close(results[0], 2e4, tolerance(operations))
    assert all(np.isfinite(x).all() for x in results)


def test_softmax_stays_finite_at_large_scores(operations):
    q = np.full((3, 1, 64), 30, operations.real)
    k = np.stack([np.full((1, 64), sign * 30, operations.real) for sign in (-1, 1, 1)])
    v = np.arange(3 * 64).reshape(3, 1, 64).astype(operations.real)
    out, lse = operations.attention_forward(q, k, v)
    assert_close(out, np.broadcast_to((v[1] + v[2]) / 2, out.shape), tolerance(operations))
    assert np.isfinite(lse).all()


@pytest.mark.parametrize(
    "name, arrays",
    [("gelu_forward", 1), ("relu_forward", 1), ("vector_add", 2), ("gelu_backward", 2), ("relu_backward", 2)],
)
def test_element_wise_operations_work_in_place(operations, name, arrays):
    """The output in the place of the first input."""
    rng = np.random.default_rng(7)
    inputs = [rng.standard_normal(1003, np.float32).astype(operations.real) for _ in range(arrays)]
    expected = getattr(operations, name)(*inputs)
    # gradients: dx = f(dy, x), so that the first input is dy
    place = inputs[0].copy()
    signature = operations.signatures[name][1]
    operations.functions[name](*[p.ctypes.data for p in [place, place] + inputs[1:]], 1003)
    assert len(signature) == arrays + 2
    assert (place == expected).all()


class TestDropout:
    RATE = 0.3

    def dropout(self, **other):
        return Dropout(**dict(dict(rate=self.RATE, seed=5, step=3, site=2**40 + 11), **other))

    def test_keeps_and_scales(self, operations):
        x = np.random.default_rng(8).standard_normal(100_003).astype(operations.real)
        y = operations.dropout_forward(x, self.dropout())
        kept = y != 0
        assert_close(y[kept], x[kept].astype(np.float64) / (1 - self.RATE), tolerance(operations))
        assert abs(kept.mean() - (1 - self.RATE)) < 5 * np.sqrt(self.RATE * (1 - self.RATE) / x.size)
        neighbours = (kept[1:] == kept[:-1]).mean()  # independent of each other
        assert abs(neighbours - (self.RATE**2 + (1 - self.RATE) ** 2)) < 0.01

    def test_rate_0_is_the_identity(self, operations):
        x = np.arange(17).astype(operations.real)
        assert (operations.dropout_forward(x, Dropout(rate=0)) == x).all()

    def test_in_place(self, operations):
        x = np.ones(1003, operations.real)
        expected = operations.dropout_forward(x, self.dropout())
        operations.call("dropout_forward", x, x, x.size, self.dropout())
        assert (x == expected).all()

    @pytest.mark.parametrize(
        "change", [dict(seed=6), dict(step=4), dict(site=2**40 + 12), dict(site=11)], ids=str
    )
    def test_masks_are_a_pure_function_of_seed_step_and_site(self, operations, change):
        x = np.ones(1000, operations.real)
        y = operations.dropout_forward(x, self.dropout())
        assert (y == operations.dropout_forward(x, self.dropout())).all()
        other = operations.dropout_forward(x, self.dropout(**change))
        agreement = ((y == 0) == (other == 0)).mean()
        assert abs(agreement - (self.RATE**2 + (1 - self.RATE) ** 2)) < 0.1, "masks are not independent"

    @pytest.mark.parametrize("Tq, Tk", [(5, 7), (33, 50), (130, 64)])
    def test_of_attention_probabilities(self, operations, Tq, Tk):
        """v = rows of the identity show the dropped probabilities; with the mask so read, forward and
        backward agree with the twin for any v."""
        H, E, rng = 2, 64, np.random.default_rng(9)
        q, k, v, dout = (
            rng.standard_normal((T, H, E), np.float32).astype(operations.real) for T in (Tq, Tk, Tk, Tq)
        )
        identity = np.repeat(np.eye(Tk, E, dtype=operations.real)[:, None], H, 1)
        shown, _ = operations.attention_forward(q, k, identity.copy(), self.dropout())
        keep = (shown.transpose(1, 0, 2)[:, :, :Tk] != 0) / (1 - self.RATE)  # (H, Tq, Tk)
        assert abs(keep.mean() - 1) < 0.15
        assert (keep[0] != keep[1]).any(), "heads share a mask"
        wide = [x.astype(np.float64) for x in (q, k, v)]
        out, lse = operations.attention_forward(q, k, v, self.dropout())
        for got, expected in zip((out, lse), twins.attention_forward(*wide, keep), strict=True):
            assert_close(got, expected, tolerance(operations))
        gradients = operations.attention_backward(dout, q, k, v, self.dropout())
        for got, expected in zip(
            gradients, twins.attention_backward(dout.astype(np.float64), *wide, keep), strict=True
        ):
            assert_close(got, expected, 2 * tolerance(operations))


def test_attention_weights_are_what_attention_applies(operations):
    rng = np.random.default_rng(10)
    q, k = (rng.standard_normal((T, 3, 64), np.float32).astype(operations.real) for T in (6, 40))
    weights = operations.attention_weights(q, k)
    identity = np.repeat(np.eye(40, 64, dtype=operations.real)[:, None], 3, 1).copy()
    out, _ = operations.attention_forward(q, k, identity)
    assert_close(weights, out[:, :, :40].astype(np.float64).mean(1), tolerance(operations))
    assert_close(weights.sum(1), np.ones(6), tolerance(operations))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_operations_give_the_same_bits_every_time(operations, dropout):
    rng = np.random.default_rng(11)
    q, k, v, dout = (
        rng.standard_normal((T, 2, 64), np.float32).astype(operations.real) for T in (50, 70, 70, 50)
    )
    setting = Dropout(rate=dropout, seed=1, step=2, site=3)
    first, second = (operations.attention_backward(dout, q, k, v, setting) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
