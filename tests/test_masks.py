"""Masks: pure functions with the distributions of SPEC 2."""

import itertools
from collections import Counter

import numpy as np
import pytest

from kmerl import _kmerl

ALL = 0b111111111111


def uniform(*counts):
    """masked_leads: these counts, equally likely."""
    return tuple(1 / len(counts) if m in counts else 0.0 for m in range(12))


DEFAULT = uniform(9, 10, 11)


def visible(present=ALL, masked=DEFAULT, seed=0, epoch=0, recording=0):
    order, count = _kmerl.mask_leads(present, masked, seed, epoch, recording)
    return tuple(sorted(order[:count]))


def test_default_counts_and_subsets_are_uniform():
    n = 30000
    shown = Counter(visible(recording=i) for i in range(n))
    by_count = Counter()
    for leads, times in shown.items():
        by_count[len(leads)] += times
    assert set(by_count) == {1, 2, 3}
    for count, subsets in ((1, 12), (2, 66), (3, 220)):
        assert abs(by_count[count] / n - 1 / 3) < 5 * np.sqrt(2 / 9 / n)
        got = [times for leads, times in shown.items() if len(leads) == count]
        expected = by_count[count] / subsets
        assert len(got) == subsets
        # chi squared with subsets - 1 degrees of freedom: within 5 deviations of its mean
        assert abs(sum((g - expected) ** 2 / expected for g in got) - (subsets - 1)) < 5 * np.sqrt(
            2 * (subsets - 1)
        )


def test_given_distribution():
    masked = tuple([0.0] * 3 + [0.5, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.25])
    counts = Counter(12 - len(visible(masked=masked, recording=i)) for i in range(4000))
    assert set(counts) == {3, 6, 11}
    assert abs(counts[3] - 2000) < 160 and abs(counts[6] - 1000) < 140
    assert visible(masked=uniform(0)) == tuple(range(12))


def test_recordings_that_lack_leads():
    present = 1 << 1 | 1 << 7 | 1 << 11
    for i in range(200):
        leads = visible(present, recording=i)
        assert 1 <= len(leads) <= 3 and set(leads) <= {1, 7, 11}
    assert visible(present, masked=uniform(0)) == (1, 7, 11)
    assert {visible(1 << 5, recording=i) for i in range(50)} == {(5,)}
    # every lead there is gets its turn
    assert {leads for i in range(200) if len(leads := visible(present, recording=i)) == 1} == {
        (1,),
        (7,),
        (11,),
    }


def test_masks_are_pure_functions_of_seed_epoch_and_recording():
    calls = list(itertools.product((0, 1, 2**40), (0, 1), (0, 1, 2**45)))
    first = {
        call: (_kmerl.mask_leads(ALL, uniform(9), *call), _kmerl.mask_segments(50, 0.25, *call, 3).tobytes())
        for call in calls
    }
    for call in reversed(calls):
        assert first[call] == (
            _kmerl.mask_leads(ALL, uniform(9), *call),
            _kmerl.mask_segments(50, 0.25, *call, 3).tobytes(),
        )
    assert len({keep for _, keep in first.values()}) == len(calls)
    assert len({str(order) for order, _ in first.values()}) == len(calls)


@pytest.mark.parametrize(
    "n, ratio, kept",
    [
        (50, 0.25, 37),
        (50, 0.5, 25),
        (50, 0.75, 12),
        (50, 0.0, 50),
        (49, 0.25, 36),
        (1, 0.25, 1),
        (3, 0.9, 1),
        (600, 0.25, 450),
        (10, 0.1, 9),
    ],
)
def test_how_many_segments_are_kept(n, ratio, kept):
    assert kept == max(1, int(n * (1 - ratio)))
    for recording in range(20):
        assert _kmerl.mask_segments(n, ratio, 0, 0, recording, 0).sum() == kept


def test_segments_are_uniform_and_leads_independent():
    n = 4000
    keep = np.array([[_kmerl.mask_segments(8, 0.5, 7, 3, i, lead) for lead in (0, 1)] for i in range(n)])
    rate = keep.mean(0)
    assert abs(rate - 0.5).max() < 5 * 0.5 / np.sqrt(n)
    both = (keep[:, 0, :, None] * keep[:, 1, None, :]).mean(0)  # P(segment a of lead 0 and b of lead 1)
    assert abs(both - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / n)
    subsets = Counter(map(bytes, keep[:, 0]))
    assert len(subsets) == 70
    expected = n / 70
    assert sum((c - expected) ** 2 / expected for c in subsets.values()) < 69 + 5 * np.sqrt(2 * 69)
