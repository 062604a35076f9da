"""A training loop of one's own: batches, losses and gradients from kmerl, the optimiser in NumPy.

    python examples/own_loop.py [STEPS]

`loss_and_gradients` changes nothing in the model, so any optimiser, schedule or sampling can go around it.
"""

import sys
import tempfile

import numpy as np

import kmerl


class Adam:
    """w <- w - lr m' / (sqrt(v') + eps), with m' and v' the bias-corrected moments of the gradient."""

    def __init__(self, lr=3e-4, betas=(0.9, 0.999), eps=1e-8):
        self.lr, self.betas, self.eps = lr, betas, eps
        self.step, self.m, self.v = 0, {}, {}

    def update(self, parameters, gradients):
        self.step += 1
        b1, b2 = self.betas
        for name, g in gradients.items():
            self.m[name] = b1 * self.m.get(name, 0) + (1 - b1) * g
            self.v[name] = b2 * self.v.get(name, 0) + (1 - b2) * g * g
            m, v = self.m[name] / (1 - b1**self.step), self.v[name] / (1 - b2**self.step)
            parameters[name] -= self.lr * m / (np.sqrt(v) + self.eps)


def main(steps=20, batch_size=16):
    model = kmerl.KMERL(
        size="custom", width=64, depth=2, heads=1, mlp_width=128,
        query_width=64, query_layers=1, query_heads=1, query_mlp_width=128, seed=0,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        store = kmerl.Store.create(f"{folder}/store", kmerl.sample_records("train"), progress=False)
        store.label(kmerl.Vocabulary.default(), progress=False)
        store.embed(kmerl.sample_embeddings(), progress=False)

        model.initialize(text_dim=store.embeddings.width)
        adam, rng, train = Adam(), np.random.default_rng(0), store.split["train"]
        history = []
        for step in range(steps):
            indices = rng.choice(train, batch_size, replace=False)
            batch = kmerl.sample_batch(store, indices, seed=0, epoch=step, config=model.config_)
            losses, gradients = model.loss_and_gradients(batch, step=step)
            parameters = model.parameters()
            adam.update(parameters, gradients)
            # Running statistics of the projector's batch normalisation are the caller's too; only answers by
            # cosine need them. fit keeps them by momentum 0.1.
            model.set_parameters(parameters)
            history.append(losses)
            shown = "  ".join(f"{name} {losses[name]:.3f}" for name in ("contrast", "query", "total"))
            print(f"step {step + 1:3}  {shown}")
    return history


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
