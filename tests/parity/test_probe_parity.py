"""The linear probe and fine-tuning against the same loops in PyTorch."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="make test-parity installs PyTorch")
sys.path.insert(0, str(Path(__file__).parent.parent))

import model_cases  # noqa: E402
import test_fine_tuning  # noqa: E402
import test_probe  # noqa: E402
from reference import Reference, pad  # noqa: E402
from test_training import order_of  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def rate(step, steps, lr, warmup):
    cosine = (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2
    return lr * (step + 1) / warmup if step < warmup else lr * cosine


def test_linear_probe(core64):
    train, validation = test_probe.made(core64, N=90)
    s = {**test_probe.SETTINGS, "batch_size": 20}
    found = test_probe.fit(core64, train, (validation[0][:0], validation[1][:0]), batch_size=20)
    x, y = (torch.from_numpy(a.astype(np.float64)) for a in train)
    layer = torch.nn.Linear(x.shape[1], y.shape[1], dtype=torch.float64)
    weight, bias = test_probe.first_weights(core64, x.shape[1], y.shape[1], 3)
    layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
    optimiser = torch.optim.AdamW(layer.parameters(), betas=(s["beta1"], s["beta2"]), eps=s["eps"], weight_decay=0)
    step, steps = 0, s["epochs"] * 5
    for epoch in range(1, s["epochs"] + 1):
        for rows in torch.tensor(order_of(epoch, 3, range(90), test_probe.STREAM_PROBE)).split(20):
            optimiser.param_groups[0]["lr"] = rate(step, steps, s["lr"], s["warmup_steps"])
            optimiser.zero_grad()
            F.binary_cross_entropy_with_logits(layer(x[rows]), y[rows]).backward()
            optimiser.step()
            step += 1
    np.testing.assert_allclose(found[0][0], layer.weight.detach(), atol=1e-10)
    np.testing.assert_allclose(found[1][0], layer.bias.detach(), atol=1e-10)


@pytest.mark.parametrize("encoder", test_fine_tuning.ENCODERS)
@pytest.mark.parametrize("changes", [{}, {"clip": 0.05, "weight_decay": 0.1}], ids=str)
def test_fine_tuning_for_five_steps(core64, encoder, changes):
    config = test_fine_tuning.settings(encoder, lr=1e-3, epochs=5, warmup_steps=2, eps=1e-4, **changes)
    parameters, statistics = model_cases.parameters(config), model_cases.statistics(config)
    reference = Reference(config, parameters, statistics)
    data, labels = test_fine_tuning.corpus(core64)
    model = core64.Model(config)
    model.set_parameters(model_cases.to_real(parameters, "float64"))
    model.set_statistics(model_cases.to_real(statistics, "float64"))
    trainer = core64.Trainer(model, data, np.arange(7), np.zeros(0, np.int64), 1, test_fine_tuning.K)
    start, events = trainer.head()[0], []
    trainer.run(5, events.append)

    batch = core64.sample_batch(data, np.arange(7), config, 0, 1, 1)
    batch |= {"report": np.zeros((7, config["text_width"])), "entities": np.zeros((1, config["text_width"]))}
    batch = pad(batch, torch.float64)
    y = torch.from_numpy(labels.astype(np.float64))
    weight = torch.from_numpy(start[: -len(y[0])].reshape(len(y[0]), -1).copy()).requires_grad_()
    bias = torch.from_numpy(start[-len(y[0]) :].copy()).requires_grad_()
    optimiser = reference.optimiser()
    optimiser.add_param_group({"params": [weight, bias], "weight_decay": config["weight_decay"]})
    everything = [x for group in optimiser.param_groups for x in group["params"]]
    for step in range(5):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, 5, config["lr"], 2)
        optimiser.zero_grad()
        z = F.linear(reference.forward(batch, training=True)["features"], weight, bias)
        loss = F.binary_cross_entropy_with_logits(z, y)
        loss.backward()
        assert events[step]["loss"] == pytest.approx(loss.item(), rel=1e-7)
        for x in everything:
            x.grad = torch.zeros_like(x) if x.grad is None else x.grad
        if config["clip"]:
            norm = torch.sqrt(sum((x.grad**2).sum() for x in everything))   # clip_grad_norm_ divides by norm + 1e-6
            for x in everything:
                x.grad *= min(1.0, config["clip"] / norm)
        optimiser.step()
    found = model.parameters()
    for name, expected in reference.weights.items():
        np.testing.assert_allclose(found[name], expected.detach(), atol=1e-7, err_msg=name)
    head = trainer.head()[0]
    np.testing.assert_allclose(head, np.concatenate([weight.detach().ravel(), bias.detach()]), atol=1e-7)
    for name, expected in model.statistics().items():
        if name.startswith("encoder"):
            np.testing.assert_allclose(expected, reference.statistics[name], rtol=1e-6, atol=1e-8, err_msg=name)
