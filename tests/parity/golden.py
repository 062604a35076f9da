"""Writes tests/golden/model.json: what PyTorch computes in float64, for checks without PyTorch.

python tests/parity/golden.py
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import model_cases  # noqa: E402
from reference import Reference, pad  # noqa: E402

GOLDEN = Path(__file__).parent.parent / "golden" / "model.json"
CONFIGS = {
    "default": {},
    "options": dict(
        width=128,
        heads=2,
        depth=1,
        projection_norm=model_cases.LAYER,
        learn_temperature=1,
        contrast_directions=model_cases.MEAN,
        mask_duplicates=1,
        query_heads=3,
        query_reduction=1,
        query_layers=1,
        contrast_weight=0.5,
        query_weight=2.0,
        decay_all=0,
        weight_decay=0.1,
        clip=1.0,
        warmup_steps=3,
        lr=1e-3,
    ),
}
STEPS = 10


def scale_of(name, size):
    """What a gradient's errors are relative to: its own size, but at least that of the weight for a bias
    whose effect batch normalisation takes off again: all or part of its gradient is 0 but for rounding."""
    if name in ("encoder.norm.bias", "ecg_projector.fc1.bias", "ecg_projector.fc2.bias"):
        return max(size(name), size(name.replace(".bias", ".weight")))
    return size(name)


def results(changes):
    config = model_cases.configuration(**changes)
    parameters, statistics = model_cases.parameters(config), model_cases.statistics(config)
    model = Reference(config, parameters, statistics)
    batch = pad(model_cases.batch(config), torch.float64)
    out = {name: x.detach().numpy().tolist() for name, x in model.forward(batch).items()}
    losses = model.losses(batch)
    losses["total"].backward()
    gradients = {name: x.grad.numpy() for name, x in model.weights.items()}

    def norm(name):
        return float(np.linalg.norm(gradients[name]))

    entries = {
        name: [(i, float(x.ravel()[i])) for i in sorted({0, x.size // 3, x.size - 1})]
        for name, x in gradients.items()
    }
    batches = [pad(model_cases.batch(config, name=f"step{step}"), torch.float64) for step in range(STEPS)]
    steps = Reference(config, parameters, statistics).train(batches)
    return dict(
        config=changes,
        **out,
        losses={name: float(x.detach()) for name, x in losses.items()},
        gradients={name: (norm(name), entries[name]) for name in gradients},
        gradient_scale={name: scale_of(name, norm) for name in gradients},
        steps=steps,
    )


def golden():
    return {name: results(changes) for name, changes in CONFIGS.items()}


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(golden(), indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    print(f"wrote {GOLDEN.name}, {GOLDEN.stat().st_size} bytes")
