"""Simulated ECGs beside real ones: heights, rate, spectra, and how well a classifier tells them apart.

    python tools/compare_simulator.py ../shared/data/ptbxl --out docs/figures

Needs matplotlib and scikit-learn. The real recordings are never fitted: distributions are compared.
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


def features(record):
    """Heights of the median beat (parts x leads), RR and its variation, band powers; None: no beats."""
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
    return heights, np.array([rr.mean(), rr.std() / rr.mean()]), bands, np.log10(power.mean(0) + 1e-9)


def collect(records):
    found = [f for f in map(features, records) if f is not None]
    return [np.array([f[k] for f in found]) for k in range(4)]


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
        path = os.path.join(arguments.out, f"simulator_{name}.png")
        figures(real, simulated, f"{name}: {len(real[0])} real (PTB-XL), as many simulated", path)


if __name__ == "__main__":
    main()
