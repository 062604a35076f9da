"""km_gemm and the built-in kernels behind it against NumPy."""

import ctypes

import numpy as np
import pytest

ISAS = ("plain", "avx2", "avx512", "avx512bf16")


def function(address, real, kernel=True):
    """km_gemm, or with kernel its extended form (csrc/ops/cpu/gemm.h), whose bias and packed may be None."""
    c_real = ctypes.c_float if real == np.float32 else ctypes.c_double
    integer, pointer = ctypes.c_int, ctypes.c_void_p
    return ctypes.CFUNCTYPE(None, pointer, integer, pointer, integer, integer, pointer, integer, integer,
                            integer, integer, integer, c_real, c_real, *([pointer] * 2 * kernel))(address)


def bf16(x):
    """Rounded to the nearest bfloat16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.fixture(params=["gemm", *ISAS, "bf16", *(f"bf16-{isa}" for isa in ISAS)])
def name(request):
    return request.param


@pytest.fixture(params=["core", "core64"])
def gemm(request, name):
    """Calls the operation, or one of the kernels, on views into larger arrays."""
    core = request.getfixturevalue(request.param)
    real = np.float32 if request.param == "core" else np.float64
    half = name.startswith("bf16")
    isa = name.removeprefix("bf16").removeprefix("-")
    kernel = isa in ISAS
    table = core.gemm_kernels(half) if kernel else core.operations(half)
    if kernel and isa not in table:
        pytest.skip(f"this processor has no {isa}")
    call = function(table[isa if kernel else "gemm"], real, kernel)

    def run(y, a, b, alpha=1.0, beta=0.0, a_transposed=False, b_transposed=False, bias=None):
        M, N = y.shape
        K = a.shape[0] if a_transposed else a.shape[1]
        for array in (y, a, b):
            assert array.dtype == real and (array.size == 0 or array.strides[1] == array.itemsize)
        strides = [array.strides[0] // array.itemsize for array in (y, a, b)]
        more = [None if bias is None else bias.ctypes.data, None] if kernel else []
        call(y.ctypes.data, strides[0], a.ctypes.data, strides[1], a_transposed, b.ctypes.data, strides[2],
             b_transposed, M, N, K, alpha, beta, *more)
        return y

    run.real, run.eps, run.bf16, run.kernel = real, np.finfo(real).eps, half, kernel
    return run


def matrix(rng, rows, columns, real, pad=0, exact=False):
    """A (rows, columns) view with a row stride of columns + pad; the padding is NaN. exact: bfloat16 holds it."""
    whole = np.full((rows, columns + pad), np.nan, real)
    x = rng.standard_normal((rows, columns))
    whole[:, :columns] = bf16(x) if exact else x
    return whole[:, :columns]


def product(a, b, a_transposed, b_transposed):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a.T if a_transposed else a) @ (b.T if b_transposed else b)


def check(gemm, M, N, K, a_transposed, b_transposed, alpha=1.0, beta=0.0, pad=0):
    rng = np.random.default_rng(M * 1000003 + N * 1009 + K)
    a = matrix(rng, *((K, M) if a_transposed else (M, K)), gemm.real, pad, gemm.bf16)
    b = matrix(rng, *((N, K) if b_transposed else (K, N)), gemm.real, pad, gemm.bf16)
    y = matrix(rng, M, N, gemm.real, pad)
    if beta == 0:
        y[:] = np.nan       # must not be read
        expected = alpha * product(a, b, a_transposed, b_transposed)
    else:
        expected = alpha * product(a, b, a_transposed, b_transposed) + beta * y.astype(np.float64)
    bound = np.abs(alpha) * product(np.abs(a), np.abs(b), a_transposed, b_transposed) + 10
    gemm(y, a, b, alpha, beta, a_transposed, b_transposed)
    assert np.max(np.abs(y - expected) / bound) < gemm.eps * 8 * np.sqrt(K + 1)
    if pad:
        assert np.isnan(y.base[:, N:]).all(), "wrote beyond its columns"


@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
def test_edges_of_every_tile(gemm, a_transposed, b_transposed):
    for M in (1, 2, 3, 4, 5, 6, 7, 13, 14, 15, 29):
        for N in (1, 3, 8, 15, 16, 17, 31, 32, 33, 65):
            check(gemm, M, N, 19, a_transposed, b_transposed, pad=3)
    for K in (1, 2, 3, 4, 5, 255, 256, 257, 511, 513):
        check(gemm, 9, 21, K, a_transposed, b_transposed, pad=1)
    for N in (511, 512, 513, 1025):
        check(gemm, 5, N, 7, a_transposed, b_transposed)


@pytest.mark.parametrize("shape", [(37, 576, 192), (100, 192, 768), (60, 256, 1024), (64, 300, 64), (576, 192, 37)])
@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
def test_shapes_of_the_model(gemm, shape, a_transposed, b_transposed):
    check(gemm, *shape, a_transposed, b_transposed)


@pytest.mark.parametrize("alpha", [1.0, 0.125, -2.0, 0.0])
@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5])
def test_alpha_and_beta(gemm, alpha, beta):
    check(gemm, 17, 45, 300, False, True, alpha, beta, pad=2)
    check(gemm, 4, 64, 20, False, False, alpha, beta)


def test_slices_of_a_packed_projection(gemm):
    """Attention: one head's q and k inside rows of 3 C."""
    rng = np.random.default_rng(0)
    C, E, T = 192, 64, 90
    qkv = matrix(rng, T, 3 * C, gemm.real, exact=gemm.bf16)
    q, k = qkv[:, E:2 * E], qkv[:, C + E:C + 2 * E]
    y = np.empty((T, T), gemm.real)
    gemm(y, q, k, alpha=0.125, b_transposed=True)
    np.testing.assert_allclose(y, 0.125 * q.astype(float) @ k.astype(float).T, atol=gemm.eps * 100)


@pytest.mark.parametrize("beta", [0.0, 2.0])
def test_nothing_to_sum(gemm, beta):
    """K = 0: y = beta y."""
    y = np.arange(12, dtype=gemm.real).reshape(3, 4)
    expected = beta * y
    gemm(y, np.empty((3, 0), gemm.real), np.empty((0, 4), gemm.real), beta=beta)
    np.testing.assert_array_equal(y, expected)


def test_empty_result(gemm):
    """Nothing is written, on either side of where the result would be."""
    for shape, a, b in (((0, 4), (0, 5), (5, 4)), ((4, 0), (4, 5), (5, 0))):
        around = np.full(8, 7, gemm.real)
        gemm(around[4:4].reshape(shape), np.ones(a, gemm.real), np.ones(b, gemm.real))
        np.testing.assert_array_equal(around, 7)


def test_not_finite_values_pass_through(gemm):
    """A NaN or an infinity reaches its own row and column only."""
    rng = np.random.default_rng(1)
    a, b = matrix(rng, 20, 70, gemm.real), matrix(rng, 70, 40, gemm.real)
    a[3, 5] = np.nan
    b[9, 7] = np.inf
    y = gemm(np.zeros((20, 40), gemm.real), a, b)
    expected = np.ones((20, 40), bool)
    expected[3] = expected[:, 7] = False
    np.testing.assert_array_equal(np.isfinite(y), expected)


def test_a_row_does_not_depend_on_its_company(gemm, name, core):
    """The same bits for a row alone, among others, and at another place: answers do not depend on the batch."""
    if name == "gemm" and core.build_info()["blas"] != "builtin":
        pytest.skip("only the built-in kernels promise this")
    rng = np.random.default_rng(2)
    for N, K in ((192, 192), (70, 768), (576, 192), (33, 5)):
        a, w = matrix(rng, 61, K, gemm.real), matrix(rng, N, K, gemm.real)
        whole = gemm(np.empty((61, N), gemm.real), a, w, b_transposed=True)
        for first, last in ((0, 1), (60, 61), (5, 18), (7, 21), (1, 61), (30, 36)):
            part = gemm(np.empty((last - first, N), gemm.real), a[first:last], w, b_transposed=True)
            np.testing.assert_array_equal(part, whole[first:last])


def test_avx2_and_avx512_agree_to_the_bit(core):
    kernels = core.gemm_kernels()
    if "avx512" not in kernels:
        pytest.skip("this processor has no avx512")
    rng = np.random.default_rng(3)
    M, N, K = 45, 91, 700
    a, w = matrix(rng, M, K, np.float32), matrix(rng, N, K, np.float32)
    results = []
    for isa in ("avx2", "avx512"):
        y = np.empty((M, N), np.float32)
        function(kernels[isa], np.float32)(y.ctypes.data, N, a.ctypes.data, K, 0, w.ctypes.data, K, 1, M, N, K, 1, 0,
                                           None, None)
        results.append(y)
    np.testing.assert_array_equal(*results)


def test_bias_is_added_to_every_row(gemm):
    if not gemm.kernel:
        pytest.skip("the operation has no bias")
    rng = np.random.default_rng(4)
    for M, N, K, beta in ((15, 67, 9, 0.0), (3, 33, 600, 0.5), (2, 5, 0, 1.0)):
        a, b = (matrix(rng, *shape, gemm.real, exact=gemm.bf16) for shape in ((M, K), (K, N)))
        y, bias = matrix(rng, M, N, gemm.real), matrix(rng, 1, N, gemm.real)[0]
        without = gemm(y.copy(), a, b, beta=beta)
        np.testing.assert_allclose(gemm(y.copy(), a, b, beta=beta, bias=bias), without + bias, atol=gemm.eps * 100)


def test_every_instruction_set_gives_the_same_bits_in_bf16(core):
    """Factors are rounded the same way and summed in the same order: of each two k the odd one first."""
    kernels = core.gemm_kernels(True)
    rng = np.random.default_rng(5)
    for M, N, K, a_transposed, b_transposed in ((45, 91, 700, 0, 1), (20, 40, 1025, 1, 0), (7, 33, 3, 0, 0)):
        a = matrix(rng, *((K, M) if a_transposed else (M, K)), np.float32)
        b = matrix(rng, *((N, K) if b_transposed else (K, N)), np.float32)
        results = {}
        for isa, address in kernels.items():
            y = np.empty((M, N), np.float32)
            function(address, np.float32)(y.ctypes.data, N, a.ctypes.data, a.shape[1], a_transposed, b.ctypes.data,
                                          b.shape[1], b_transposed, M, N, K, 1, 0, None, None)
            results[isa] = y
        for isa, y in results.items():
            np.testing.assert_array_equal(y, results["plain"], err_msg=isa)
        expected = product(bf16(a), bf16(b), a_transposed, b_transposed)
        assert np.abs(results["plain"] - expected).max() < 1e-6 * np.sqrt(K) * np.abs(expected).max()
        assert np.abs(expected - product(a, b, a_transposed, b_transposed)).max() > 1e-4, "nothing was rounded"


def test_rounding_to_bf16(gemm):
    """Nearest, ties to even; infinities and NaN stay; what is under the smallest normal number counts as 0."""
    if not gemm.bf16:
        pytest.skip("not in bfloat16")
    one, half, tiny = np.float32(1), np.float32(2.0**-8), np.float32(2.0**-130)
    x = np.array([one + half, one + 3 * half, -(one + half), one + half * np.float32(1.01), 3e38, -3e38, tiny, np.inf,
                  -np.inf, np.nan, 0.1], np.float32)
    expected = np.array([1, 1 + 4 * half, -1, 1 + 2 * half, 3.0040553e38, -3.0040553e38, 0, np.inf, -np.inf, np.nan,
                         0.10009765625])
    a = x.astype(gemm.real)[:, None].copy()
    for transposed in (False, True):
        operand = a.T.copy() if transposed else a
        y = gemm(np.empty((len(x), 1), gemm.real), operand, np.ones((1, 1), gemm.real), a_transposed=transposed)
        np.testing.assert_allclose(y[:, 0], expected, rtol=1e-6)
        y = gemm(np.empty((1, len(x)), gemm.real), np.ones((1, 1), gemm.real), a if transposed else a.T.copy(),
                 b_transposed=transposed)
        np.testing.assert_allclose(y[0], expected, rtol=1e-6)
