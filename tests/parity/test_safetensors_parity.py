"""kmerl.safetensors and the safetensors package read each other's files."""

import numpy as np
import pytest

from kmerl import safetensors

package = pytest.importorskip("safetensors.numpy", reason="the safetensors package is not installed")
safe_open = pytest.importorskip("safetensors").safe_open

DTYPES = [np.float64, np.float32, np.float16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_]


def test_the_safetensors_package_agrees(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {np.dtype(d).name: (rng.normal(size=(3, 5)) * 9).astype(d) for d in DTYPES}
    tensors |= {"empty": np.zeros((0, 2), np.float32), "scalar": np.array(2.0)}
    metadata = {"config": "{}", "name": "é"}
    safetensors.write(tmp_path / "ours", tensors, metadata)
    package.save_file(tensors, str(tmp_path / "theirs"), metadata)
    with safe_open(str(tmp_path / "ours"), "np") as file:
        assert file.metadata() == metadata
    for got in (package.load_file(str(tmp_path / "ours")), safetensors.read(tmp_path / "theirs")[0]):
        assert sorted(got) == sorted(tensors)
        for name, tensor in tensors.items():
            assert got[name].dtype == tensor.dtype
            np.testing.assert_array_equal(got[name], tensor)
    assert safetensors.read(tmp_path / "theirs")[1] == metadata
