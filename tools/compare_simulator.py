"""Simulated ECGs beside real ones: heights, rate, spectra, beats, and how well a classifier tells them apart.

    python tools/compare_simulator.py ../shared/data/ptbxl --out docs/figures

Needs matplotlib and scikit-learn. Distributions are compared, never single recordings.
"""

import argparse
import os

import numpy as np

import kmerl
from kmerl.leads import LEADS

PARTS = ("R", "S", "ST", "T", "P")
BANDS = ((0.5, 2), (2, 5), (5, 10), (10, 20), (20, 40), (40, 80), (80, 150))


def beats(signal, fs=500):
    """Where the QRS complexes are: peaks of the slope summed over leads."""
    slope = np.convolve(np.abs(np.diff(signal, axis=1)).sum(0), np.ones(20) / 20, "same")
    threshold, found, i = 0.45 * np.percentile(slope, 99.5), [], 0
    while i < len(slope):
        if slope[i] > threshold:
            peak = i + int(np.argmax(slope[i : i + 60]))
            found.append(peak)
            i = peak + 150
        else:
            i += 1
    return np.array(found)


# Where a beat is compared: P and PR, QRS, ST and T, samples at 500 Hz from the middle of its slopes; what each weighs.
SPANS = ((np.arange(-100, -45, 6), 4.0), (np.arange(-36, 44, 3), 1.0), (np.arange(50, 230, 9), 1.8))
GRID = np.concatenate([at for at, _ in SPANS])
WEIGHTS = np.concatenate([np.full(len(at), weight) for at, weight in SPANS])


def centred_beat(windows):
    """The median of windows (beats, leads, 450) around the steepest slope, at GRID from the middle of its slopes."""
    beat = np.median(windows, axis=0)
    beat = beat - np.median(beat[:, 112:122], axis=1, keepdims=True)
    slope = np.abs(np.diff(beat, axis=1)).sum(0)[105:195]
    middle = 150 + int(round((slope * np.arange(-45, 45)).sum() / slope.sum()))
    return beat[:, middle + GRID]


def distance(real, simulated, seed=0):
    """How far apart beats (n, leads, len(GRID)) are as distributions: squares of the differences of their quantiles, at
    each place and along 84 directions (24 principal components of the real ones, 60 drawn), each kind's mean.

    A lead's unit is its root mean square in the real ones."""
    units = WEIGHTS / np.sqrt((real**2).mean((0, 2)))[:, None]
    x, y = ((beats * units).reshape(len(beats), -1) for beats in (real, simulated))
    mean = x.mean(0)
    drawn = 3 * np.random.default_rng(seed).standard_normal((60, x.shape[1])) / np.sqrt(x.shape[1])
    directions = np.concatenate([np.linalg.svd(x - mean, full_matrices=False)[2][:24], drawn]).T
    levels = np.linspace(0.06, 0.94, 9)
    places = np.quantile(x, levels[::2], axis=0) - np.quantile(y, levels[::2], axis=0)
    along = np.quantile((x - mean) @ directions, levels, axis=0) - np.quantile((y - mean) @ directions, levels, axis=0)
    return 4 * (places**2).sum() / x.shape[1] + 0.25 * (along**2).sum() / directions.shape[1]


def features(record):
    """Heights of the median beat (parts x leads), RR and its variation, band powers, spectrum, beat; None: no beats."""
    signal = record.signal - np.median(record.signal, axis=1, keepdims=True)
    at = beats(signal)
    windows = [signal[:, p - 150 : p + 250] for p in at if p >= 150 and p + 250 <= signal.shape[1]]
    if len(windows) < 3:
        return None
    beat = np.median(windows, axis=0)
    beat = beat - np.median(beat[:, 60:110], axis=1, keepdims=True)
    qrs, t = beat[:, 120:190], beat[:, 205:330]
    heights = np.stack(
        [
            qrs.max(1),
            qrs.min(1),
            beat[:, 190:200].mean(1),
            np.where(t.max(1) > -t.min(1), t.max(1), t.min(1)),
            beat[:, 70:120].max(1),
        ]
    )
    rr = np.diff(at) / 500
    power = np.abs(np.fft.rfft(signal[:, :5000] * np.hanning(min(5000, signal.shape[1])), axis=1)) ** 2
    hz = np.fft.rfftfreq(min(5000, signal.shape[1]), 1 / 500)
    bands = np.stack([np.log10(power[:, (hz >= a) & (hz < b)].mean(1) + 1e-9) for a, b in BANDS])
    long = [signal[:, p - 150 : p + 300] for p in at if p >= 150 and p + 300 <= signal.shape[1]]
    return (heights, np.array([rr.mean(), rr.std() / rr.mean()]), bands, np.log10(power.mean(0) + 1e-9),
            centred_beat(long or [np.pad(windows[0], ((0, 0), (0, 50)), "edge")]))


def collect(records):
    found = [f for f in map(features, records) if f is not None]
    return [np.array([f[k] for f in found]) for k in range(5)]


def separability(real, simulated, seed=0):
    """Cross-validated AUC of gradient boosting that tells real from simulated: 0.5 cannot, 1.0 always."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    x = np.concatenate([real, simulated])
    y = np.repeat([0, 1], [len(real), len(simulated)])
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = HistGradientBoostingClassifier(max_iter=120, random_state=seed)
    p = cross_val_predict(model, x, y, cv=folds, method="predict_proba")[:, 1]
    return kmerl.metrics.roc_auc_score(y, p)


def flat(parts):
    return np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)


def figures(real, simulated, title, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(13, 6.5), layout="constrained")
    for k, axis in enumerate(axes.flat[:5]):
        for shift, (x, colour, name) in zip(
            (-0.17, 0.17), ((real, "#444444", "real"), (simulated, "#2a52be", "simulated")), strict=True
        ):
            low, middle, high = np.percentile(x[0][:, k], [10, 50, 90], axis=0)
            at = np.arange(12) + shift
            axis.errorbar(at, middle, [middle - low, high - middle], fmt="o", ms=4, color=colour, label=name)
        axis.set_xticks(range(12), LEADS, fontsize=7)
        axis.set_title(f"{PARTS[k]}, mV: median, 10 to 90 %", fontsize=9)
        axis.grid(alpha=0.3)
    axes.flat[0].legend()
    hz = np.linspace(0, 250, real[3].shape[1])
    for x, colour in ((real, "#444444"), (simulated, "#2a52be")):
        axes.flat[5].plot(hz, np.median(x[3], axis=0), color=colour, lw=0.8)
    axes.flat[5].set(xlim=(0, 150))
    axes.flat[5].set_title("spectrum, log10 power over Hz, median", fontsize=9)
    figure.suptitle(title)
    figure.savefig(path, dpi=70)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="of PTB-XL")
    parser.add_argument("--out", default="docs/figures")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)
    dataset = kmerl.datasets.ptbxl(arguments.folder, task="super")
    normal = [k for k, name in enumerate(dataset.classes) if "norm" in name.lower()][0]
    healthy = [i for i in range(len(dataset)) if dataset.labels[i, normal] and dataset.labels[i].sum() == 1]
    cases = {
        "normal": (healthy, kmerl.Simulator(seed=5, findings=["normal ECG"])),
        "all": (range(len(dataset)), kmerl.Simulator(seed=5)),
    }
    for name, (indices, simulator) in cases.items():
        real = collect(dataset[i] for i in indices)
        simulated = collect(simulator.records(range(len(real[0]))))
        print(f"{name}: {len(real[0])} real, {len(simulated[0])} simulated")
        for k, part in enumerate(PARTS):
            for what, x in (("real", real), ("simulated", simulated)):
                values = " ".join(f"{v:6.2f}" for v in np.median(x[0][:, k], axis=0))
                print(f"  {part:2} {what:9} {values}")
        print(
            f"  AUC real against simulated: heights {separability(flat(real[:1]), flat(simulated[:1])):.3f}, "
            f"heights and rate {separability(flat(real[:2]), flat(simulated[:2])):.3f}, "
            f"spectra {separability(flat(real[2:3]), flat(simulated[2:3])):.3f}, "
            f"all {separability(flat(real[:3]), flat(simulated[:3])):.3f}"
        )
        halves = np.random.default_rng(0).permutation(len(real[4]))
        print(
            f"  distance of beats {distance(real[4], simulated[4]):.2f}; of two halves of the real ones "
            f"{distance(*np.array_split(real[4][halves], 2)):.2f}"
        )
        path = os.path.join(arguments.out, f"simulator_{name}.png")
        figures(real, simulated, f"{name}: {len(real[0])} real (PTB-XL), as many simulated", path)


if __name__ == "__main__":
    main()
