"""The safetensors file format, read and written with NumPy alone.

A file is, in this order:

1. eight bytes: the header's length N, an unsigned little-endian integer;
2. N bytes of UTF-8 JSON, padded with spaces: ``{"name": {"dtype": "F32", "shape": [2, 3],
   "data_offsets": [begin, end]}, ..., "__metadata__": {"key": "value", ...}}``;
3. the tensors' bytes, row-major and little-endian. Offsets count from the end of the header; the tensors fill
   this part without overlaps or gaps.

Reading is strict: every size is checked against the file before anything is allocated, and whatever does not
add up is refused with a message that names the file and the tensor.
"""

import json
import math
import mmap
import os
import stat

import numpy as np

from kmerl.durable import sync_folder
from kmerl.patterns import repeated

__all__ = ["read", "write"]

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # NumPy has no bfloat16: the bits, widened to float32 on request
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items() if name != "BF16"}
_LONGEST_HEADER = 100_000_000  # bytes, the format's own limit
_MOST_DIMENSIONS = 32  # of an array in NumPy 1


def read(path, *, float32=False):
    """Read a safetensors file.

    Parameters
    ----------
    path : path-like
        A regular file.
    float32 : bool
        Give F16, BF16 and F64 tensors as float32. Without it F16 and F64 come as they are and BF16, which
        NumPy lacks, is refused.

    Returns
    -------
    tensors : dict of str to ndarray
        In the order of the header. Read-only arrays over the memory-mapped file, so nothing is read before it
        is used (copies where they were converted, or lie unaligned in the file).
    metadata : dict of str to str
        The header's ``__metadata__``, empty where there is none.

    Raises
    ------
    ValueError
        What is wrong with the file: truncated, no safetensors file, a header that contradicts itself.
    OSError
        The file cannot be opened or is not a regular file.
    """
    path = os.fspath(path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")
        if status.st_size < 8:
            raise ValueError(
                f"{path} is truncated: {status.st_size} bytes, a safetensors file has at least 8"
            )
        data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    entries, metadata, start = _header(path, data)
    tensors = {}
    for name, (dtype, shape, begin, _end) in entries.items():
        if dtype == "BF16" and not float32:
            raise ValueError(f"{path}: tensor {name!r} is BF16, which NumPy lacks; read it with float32=True")
        array = np.frombuffer(data, _DTYPES[dtype], math.prod(shape), start + begin).reshape(shape)
        if dtype == "BF16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        elif float32 and dtype in ("F64", "F16"):
            array = array.astype(np.float32)
        elif dtype == "BOOL" and (array.view(np.uint8) > 1).any():
            raise ValueError(f"{path}: tensor {name!r} is BOOL but has bytes other than 0 and 1")
        if not array.flags.aligned:
            array = array.copy()
        array.flags.writeable = False
        tensors[name] = array
    return tensors, metadata


def write(path, tensors, metadata=None, *, bfloat16=()):
    """Write a safetensors file under a temporary name in the same folder, then put it in place in one step.

    Whoever reads `path` finds the old file or the new one, whole; after an error the old one.

    Parameters
    ----------
    path : path-like
        Its folder must exist.
    tensors : mapping of str to ndarray
        float64, float32, float16, int64, int32, int16, int8, uint8 or bool; any layout, scalars included.
    metadata : mapping of str to str, optional
        Stored as the header's ``__metadata__``.
    bfloat16 : collection of str
        Names of float32 tensors to store as BF16, rounded to nearest, ties to even.

    Raises
    ------
    TypeError, ValueError
        A name, array or metadata entry that the format cannot hold.
    OSError
        The file cannot be written.
    """
    path = os.fspath(path)
    metadata = dict(metadata or {})
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata must map str to str, got {key!r}: {type(value).__name__}")
    arrays = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            raise TypeError(f"tensor names must be str, got {name!r}")
        if name == "__metadata__":
            raise ValueError("a tensor cannot be named '__metadata__': the format keeps that name for itself")
        array = np.asarray(tensor)
        dtype = _NAMES.get(array.dtype.newbyteorder("<"))
        if dtype is None:
            supported = ", ".join(str(known.newbyteorder("=")) for known in _NAMES)
            raise TypeError(f"tensor {name!r} has dtype {array.dtype}, expected one of {supported}")
        if name in bfloat16:
            if dtype != "F32":
                raise TypeError(
                    f"tensor {name!r} has dtype {array.dtype}, expected float32 to store it as bfloat16"
                )
            dtype, array = "BF16", _bfloat16(array)
        arrays[name] = dtype, array
    unknown = [name for name in bfloat16 if name not in arrays]
    if unknown:
        raise KeyError(f"bfloat16 names {unknown[0]!r}, which is not among the tensors")

    # Widest elements first: every tensor is then aligned to its own element.
    order = sorted(arrays, key=lambda name: (-_DTYPES[arrays[name][0]].itemsize, name))
    header = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name in order:
        dtype, array = arrays[name]
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, end]}
    try:
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"tensor names and metadata must be valid Unicode: {error.object[error.start]!r}"
        ) from None
    text += b" " * (-len(text) % 8)
    if len(text) > _LONGEST_HEADER:
        raise ValueError(f"the header would have {len(text)} bytes, the format allows {_LONGEST_HEADER}")

    def parts():
        yield len(text).to_bytes(8, "little") + text
        for name in order:
            dtype, array = arrays[name]
            yield np.ascontiguousarray(array, _DTYPES[dtype]).reshape(-1).view(np.uint8).data

    _replace(path, parts())


def _header(path, data):
    """Check the header: {name: (dtype, shape, begin, end)}, metadata, where the tensors' bytes start."""
    length = int.from_bytes(data[:8], "little")
    if length > _LONGEST_HEADER:
        raise ValueError(
            f"{path} is not a safetensors file: it starts with a header length of {length} bytes"
        )
    start = 8 + length
    if start > len(data):
        raise ValueError(f"{path} is truncated: its header takes {start} bytes, the file has {len(data)}")
    try:
        header = json.loads(
            data[8:start].decode(),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"{path} is not a safetensors file: its header is no valid JSON: {reason}") from None
    if not isinstance(header, dict):
        raise ValueError(
            f"{path} is not a safetensors file: its header is a JSON {type(header).__name__}, not an object"
        )
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{path}: __metadata__ must map strings to strings")

    entries = {name: _entry(path, name, entry) for name, entry in header.items()}
    expected = 0
    last = None
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin < expected:
            raise ValueError(f"{path}: tensors {last!r} and {name!r} overlap")
        if begin > expected:
            raise ValueError(f"{path}: {begin - expected} bytes before tensor {name!r} belong to no tensor")
        expected, last = end, name
    if start + expected > len(data):
        raise ValueError(
            f"{path} is truncated: its tensors end at byte {start + expected} (the last one is {last!r}), "
            f"the file has {len(data)} bytes"
        )
    if start + expected < len(data):
        raise ValueError(
            f"{path}: {len(data) - start - expected} bytes after the last tensor belong to no tensor"
        )
    return entries, metadata, start


def _entry(path, name, entry):
    """Check one tensor's line of the header: dtype, shape, begin, end."""

    def sizes(value):
        return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)

    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{path}: tensor {name!r} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ValueError(f"{path}: tensor {name!r} has dtype {dtype!r}, expected one of {', '.join(_DTYPES)}")
    if not sizes(shape) or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"{path}: tensor {name!r}: shape must be a list of at most {_MOST_DIMENSIONS} sizes")
    if not sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"{path}: tensor {name!r}: data_offsets must be [begin, end] with 0 <= begin <= end")
    itemsize = _DTYPES[dtype].itemsize
    if math.prod(size for size in shape if size > 0) * itemsize >= 2**63:
        raise ValueError(f"{path}: tensor {name!r} has shape {shape}, which no memory holds")
    needed = math.prod(shape) * itemsize
    if needed != offsets[1] - offsets[0]:
        raise ValueError(
            f"{path}: tensor {name!r} of dtype {dtype} and shape {shape} takes {needed} bytes, "
            f"its data_offsets give it {offsets[1] - offsets[0]}"
        )
    return dtype, tuple(shape), offsets[0], offsets[1]


def _unique(pairs):
    """An object of the header, in which no name stands twice."""
    if twice := repeated(pairs):
        raise ValueError(f"{twice[0]!r} stands twice")
    return dict(pairs)


def _integer(text):
    if len(text) > 20:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _no_number(text):
    raise ValueError(f"{text[:20]} is not a whole number")


def _bfloat16(array):
    """float32 -> the upper 16 bits, rounded to nearest, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).reshape(array.shape).view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(array), (bits >> 16) | 0x40, rounded).astype(np.uint16)


def remove_leftovers(path):
    """Removes what writes of `path` left when their process or machine stopped. Only for one who alone writes there."""
    folder, base = os.path.split(os.fspath(path))
    for name in os.listdir(folder or "."):
        if name.startswith(f".{base}.") and name.endswith(".tmp"):
            os.unlink(os.path.join(folder, name))


def _replace(path, parts):
    """Write the parts to a temporary file beside `path`, sync it, rename it to `path`."""
    folder, base = os.path.split(path)
    temporary = os.path.join(folder, f".{base}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    if not os.path.isdir(folder or "."):
        raise FileNotFoundError(f"cannot write {path}: the folder {folder} does not exist")
    if os.path.isdir(path):
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise
    if os.name == "posix":  # the new name itself must survive a power cut
        sync_folder(folder or ".")
