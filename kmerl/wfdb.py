"""Recordings as WFDB files: format 16, one .hea and one .dat. Reading is `kmerl.read_record`."""

import os
import re

import numpy as np

from kmerl.durable import writing

__all__ = ["write_record"]

STEPS = 1000  # a mV
MISSING = -32768


def write_record(path, record):
    """Write a recording as ``path.hea`` and ``path.dat``: WFDB format 16, steps of 1 uV.

    Parameters
    ----------
    path : path-like
        Without ending, in a folder that exists; its last part becomes the record's name.
    record : Record
        NaN and infinities are written as missing samples.

    Raises
    ------
    ValueError
        A name that WFDB does not allow, or a sample beyond +-32.767 mV.
    """
    path = os.fspath(path)
    name = os.path.basename(path)
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError(f"path: a WFDB record's name has letters, digits, - and _ only, got {name!r}")
    finite = np.isfinite(record.signal)
    steps = np.rint(np.where(finite, record.signal, 0).astype(np.float64) * STEPS)
    if np.abs(steps).max() > 32767:
        raise ValueError(f"record reaches {np.abs(steps).max() / STEPS:g} mV, format 16 holds +-32.767 mV")
    samples = np.where(finite, steps, MISSING).astype("<i2").T
    lines = [f"{name} {len(record.leads)} {record.fs:.17g} {len(samples)}"]
    for k, lead in enumerate(record.leads):
        checksum = int(samples[:, k].sum(dtype=np.int64)) & 0xFFFF
        checksum -= (checksum & 0x8000) << 1
        lines.append(f"{name}.dat 16 {STEPS}/mV 16 0 {samples[0, k]} {checksum} 0 {lead}")
    lines += [f"#{line}" for comment in record.comments for line in str(comment).splitlines()]
    with writing(path + ".dat") as file:
        file.write(samples.tobytes())
    with writing(path + ".hea") as file:
        file.write(("\n".join(lines) + "\n").encode())
