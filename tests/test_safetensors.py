"""kmerl.safetensors: round trips, and every way a file can be wrong."""

import json
import os

import numpy as np
import pytest

from kmerl import safetensors

DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_]


def raw(path, header, data=b"", length=None):
    """A file with this header (bytes, or an object for JSON), however wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def test_round_trip_of_every_dtype_and_shape(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {}
    for dtype in DTYPES:
        for shape in [(), (0,), (3,), (2, 0, 4), (3, 5)]:
            tensors[f"{np.dtype(dtype).name}{shape}"] = (rng.normal(size=shape) * 50).astype(dtype)
    tensors["transposed"] = np.arange(6, dtype=np.float32).reshape(2, 3).T
    tensors["big endian"] = np.arange(3, dtype=">i4")
    metadata = {"config": '{"größe": "tiny"}', "": ""}
    safetensors.write(tmp_path / "a", tensors, metadata)
    got, got_metadata = safetensors.read(tmp_path / "a")
    assert got_metadata == metadata
    assert sorted(got) == sorted(tensors)
    for name, tensor in tensors.items():
        assert got[name].shape == tensor.shape
        assert got[name].dtype == tensor.dtype.newbyteorder("=")
        assert not got[name].flags.writeable and got[name].flags.aligned
        np.testing.assert_array_equal(got[name], tensor)


def test_an_empty_file_of_tensors(tmp_path):
    safetensors.write(tmp_path / "a", {})
    assert safetensors.read(tmp_path / "a") == ({}, {})


def test_same_content_same_bytes(tmp_path):
    tensors = {"b": np.ones(3, np.int8), "a": np.ones(2)}
    safetensors.write(tmp_path / "a", tensors, {"k": "v"})
    safetensors.write(tmp_path / "b", dict(reversed(tensors.items())), {"k": "v"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_float32_on_request(tmp_path):
    x = np.array([1.0, -2.5, 65504.0, np.inf, np.nan])
    safetensors.write(tmp_path / "a", {"half": x.astype(np.float16), "double": x, "int": np.arange(2)})
    got, _ = safetensors.read(tmp_path / "a", float32=True)
    assert got["half"].dtype == got["double"].dtype == np.float32 and got["int"].dtype == np.int64
    np.testing.assert_array_equal(got["half"], x.astype(np.float32))
    np.testing.assert_array_equal(got["double"], x.astype(np.float32))


def test_bfloat16_rounds_to_nearest_even(tmp_path):
    # One step of bfloat16 at 1 is 2^-7: ties go to the even neighbour.
    x = np.array(
        [[1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20], [-0.0, np.inf, np.nan, 3.4e38]], np.float32
    )
    expected = np.array([[1, 1, 1 + 2**-6, 1 + 2**-7], [-0.0, np.inf, np.nan, np.inf]], np.float32)
    safetensors.write(tmp_path / "a", {"x": x, "y": x}, bfloat16=["x"])
    with pytest.raises(ValueError, match="'x' is BF16.*float32=True"):
        safetensors.read(tmp_path / "a")
    got, _ = safetensors.read(tmp_path / "a", float32=True)
    np.testing.assert_array_equal(got["x"], expected)
    np.testing.assert_array_equal(got["y"], x)


def test_unaligned_tensors_are_copied(tmp_path):
    data = b"\x07" + np.array([1.5], "<f8").tobytes()
    header = {"byte": entry("U8", [1], 0, 1), "x": entry("F64", [1], 1, 9)}
    got, _ = safetensors.read(raw(tmp_path / "a", header, data))
    assert got["x"].flags.aligned and got["x"][0] == 1.5 and got["byte"][0] == 7


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    safetensors.write(path, {"x": np.ones(3)})
    old = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "fsync", full)
        safetensors.write(path, {"x": np.zeros(4)})
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "tensors, metadata, error, message",
    [
        ({"x": np.ones(2, complex)}, None, TypeError, "'x' has dtype complex128, expected one of float64"),
        ({"x": np.array(["a"])}, None, TypeError, "'x' has dtype <U1"),
        ({"x": np.array([None])}, None, TypeError, "'x' has dtype object"),
        ({1: np.ones(2)}, None, TypeError, "names must be str, got 1"),
        ({"__metadata__": np.ones(2)}, None, ValueError, "__metadata__"),
        ({"x\ud800": np.ones(2)}, None, ValueError, "valid Unicode"),
        ({}, {"epochs": 3}, TypeError, "metadata must map str to str, got 'epochs': int"),
    ],
)
def test_what_cannot_be_written(tmp_path, tensors, metadata, error, message):
    with pytest.raises(error, match=message):
        safetensors.write(tmp_path / "a", tensors, metadata)
    assert os.listdir(tmp_path) == []


def test_bfloat16_of_what_is_not_there_or_not_float32(tmp_path):
    with pytest.raises(KeyError, match="'y'"):
        safetensors.write(tmp_path / "a", {"x": np.ones(1, np.float32)}, bfloat16=["y"])
    with pytest.raises(TypeError, match="'x' has dtype float64, expected float32"):
        safetensors.write(tmp_path / "a", {"x": np.ones(1)}, bfloat16=["x"])


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder .*nowhere does not exist"):
        safetensors.write(tmp_path / "nowhere" / "a", {})
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        safetensors.write(tmp_path, {})


def test_where_nothing_can_be_read(tmp_path):
    with pytest.raises(FileNotFoundError):
        safetensors.read(tmp_path / "a")
    with pytest.raises(OSError, match="not a regular file"):
        safetensors.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        safetensors.read(tmp_path / "pipe")


def test_every_truncation_says_so(tmp_path):
    safetensors.write(tmp_path / "a", {"x": np.ones(3), "y": np.ones(2, np.int8)}, {"k": "v"})
    whole = (tmp_path / "a").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "a").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is truncated"):
            safetensors.read(tmp_path / "a")
    (tmp_path / "a").write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="1 bytes after the last tensor"):
        safetensors.read(tmp_path / "a")


@pytest.mark.parametrize(
    "header, data, message",
    [
        (b"not json", b"", "no valid JSON"),
        (b"\xff\xfe{}", b"", "no valid JSON"),
        (b"[]", b"", "JSON list, not an object"),
        (b"[" * 100_000, b"", "no valid JSON: nested too deeply"),
        (b'{"x": ' + b"9" * 10_000 + b"}", b"", "a number of 10000 digits"),
        (b'{"x": NaN}', b"", "NaN is not a whole number"),
        (b'{"x": 1, "x": 2}', b"", "'x' stands twice"),
        ({"__metadata__": {"a": 1}}, b"", "__metadata__ must map strings"),
        ({"__metadata__": []}, b"", "__metadata__ must map strings"),
        ({"x": 3}, b"", "'x' must have exactly dtype, shape and data_offsets"),
        ({"x": {"dtype": "F32", "shape": []}}, b"", "'x' must have exactly"),
        ({"x": {**entry(), "more": 1}}, bytes(8), "'x' must have exactly"),
        ({"x": entry("F8_E4M3", [8])}, bytes(8), "'x' has dtype 'F8_E4M3', expected one of F64"),
        ({"x": entry(["F32"])}, bytes(8), "expected one of F64"),
        ({"x": entry(shape=[-2])}, bytes(8), "'x': shape"),
        ({"x": entry(shape=[True, 2])}, bytes(8), "'x': shape"),
        ({"x": {**entry(), "shape": 2}}, bytes(8), "'x': shape"),
        ({"x": entry(shape=[1] * 40)}, bytes(8), "at most 32"),
        ({"x": entry(begin=8, end=0)}, bytes(8), "'x': data_offsets"),
        ({"x": {**entry(), "data_offsets": [0, 8, 9]}}, bytes(8), "'x': data_offsets"),
        ({"x": entry(shape=[3])}, bytes(8), "takes 12 bytes, its data_offsets give it 8"),
        ({"x": entry(shape=[2**62, 2**62])}, bytes(8), "which no memory holds"),
        ({"x": entry(shape=[2**62, 2**62, 0], end=0)}, b"", "which no memory holds"),
        ({"x": entry(end=2**50, shape=[2**48])}, bytes(8), "is truncated"),
        ({"x": entry(), "y": entry(begin=4, end=12)}, bytes(12), "'x' and 'y' overlap"),
        ({"x": entry(), "y": entry()}, bytes(8), "'x' and 'y' overlap"),
        ({"x": entry(begin=4, end=12)}, bytes(12), "4 bytes before tensor 'x'"),
        ({"x": entry("BOOL", [2], 0, 2)}, b"\0\2", "'x' is BOOL"),
    ],
)
def test_headers_that_lie(tmp_path, header, data, message):
    with pytest.raises(ValueError, match=message):
        safetensors.read(raw(tmp_path / "a", header, data))


def test_header_lengths_that_lie(tmp_path):
    with pytest.raises(ValueError, match="header length of 18446744073709551615"):
        safetensors.read(raw(tmp_path / "a", {}, length=2**64 - 1))
    with pytest.raises(ValueError, match="is truncated: its header takes 1008"):
        safetensors.read(raw(tmp_path / "a", {}, length=1000))
