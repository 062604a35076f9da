"""tools/compare_simulator.py: what it calls a distance is one."""

import importlib.util
import pathlib

import numpy as np

import kmerl

TOOL = pathlib.Path(__file__).resolve().parent.parent / "tools" / "compare_simulator.py"
spec = importlib.util.spec_from_file_location("compare_simulator", TOOL)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def beats(seed, count=60):
    simulator = kmerl.Simulator(seed=seed, findings=["normal ECG"], noise=0, seconds=5)
    return np.array([tool.features(record)[4] for record in simulator.records(range(count))])


def test_distance_of_beats():
    some, others = beats(1), beats(2)
    assert some.shape == (60, 12, len(tool.GRID)) and tool.distance(some, some) == 0
    near = tool.distance(some, others)
    assert 0 < near < tool.distance(some, 1.5 * others) < tool.distance(some, 2 * others)
    assert near < tool.distance(some, np.roll(others, 1, axis=1)), "other leads"
    assert near < tool.distance(some, others[:, :, ::-1]), "another order of time"


def test_beats_are_centred():
    """The middle of the slopes does not depend on where the window was cut."""
    record = kmerl.Simulator(seed=1, findings=["normal ECG"], noise=0, seconds=5).records([0])[0]
    at = tool.beats(record.signal)[1]
    for shift in (-15, 10):
        moved = record.signal[:, at + shift - 150 : at + shift + 300]
        here = record.signal[:, at - 150 : at + 300]
        pair = tool.centred_beat(moved[None]).ravel(), tool.centred_beat(here[None]).ravel()
        assert np.corrcoef(*pair)[0, 1] > 0.98 > np.corrcoef(moved[:, 150 + tool.GRID].ravel(), pair[1])[0, 1]
