"""How the compiled core was built, and what it chose on this machine."""

from kmerl import _kmerl

__all__ = ["build_info"]


def build_info():
    """How kmerl was built and what it uses here.

    Returns
    -------
    dict
        ``version``: of the package. ``real``: the core's number type, "float32" in every release.
        ``openmp``: whether it can use several threads. ``threads``: how many it uses by default
        (``OMP_NUM_THREADS``, else ``processors``; 1 without OpenMP). ``processors``: how many this process may
        use, by affinity and control groups (``cpu.max``, as it was at the first use).
        ``compiler``. ``blas``: where matrix products come from, "openblas" (bundled), "system" or "builtin",
        and ``blas_details``: what that library says of itself, "" where it says nothing.
        ``isa``: the vector instructions of the built-in matrix product, "avx512bf16" (with instructions for
        bfloat16), "avx512", "avx2" or "plain"; the environment variable ``KMERL_ISA`` forces one.

    Examples
    --------
    >>> kmerl.build_info()["openmp"]
    True
    """
    from kmerl import __version__

    return {"version": __version__, **_kmerl.build_info()}
