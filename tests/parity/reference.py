"""The same model in PyTorch, written as one would write it there: a padded batch with a key-padding mask.

Follows SPEC 2, 3, 5, 6 and 7 and takes the parameters of kmerl by name. It serves as the truth of the parity
tests and as the opponent of benchmarks/bench_train.py, hence nothing in it is slower than it must be:
attention is `scaled_dot_product_attention`, and the first self-attention among queries, which does not see
the ECG, runs once.
"""

import math

import numpy as np
import torch
from model_cases import norm_of
from torch.nn import functional as F


def pad(batch, dtype):
    """The arrays of a packed batch as tensors; patches, lead, segment as (B, longest, ...), present (B,
    longest)."""
    offset = np.asarray(batch["offset"])
    counts = np.diff(offset)
    present = np.arange(counts.max())[None, :] < counts[:, None]
    padded = {"present": None if present.all() else torch.from_numpy(present)}
    for name in ("patches", "lead", "segment"):
        array = np.zeros(present.shape + batch[name].shape[1:], batch[name].dtype)
        array[present] = batch[name]
        padded[name] = torch.from_numpy(array)
    for name in ("report", "labels", "entities", "report_id"):
        if name in batch:
            padded[name] = torch.from_numpy(np.asarray(batch[name]))
    return {name: x.to(dtype) if x is not None and x.is_floating_point() else x for name, x in padded.items()}


class Reference:
    """The model; `weights` are leaf tensors by name. Configurations are those of tests/model_cases.py."""

    def __init__(self, config, parameters, statistics, dtype=torch.float64):
        self.config, self.dtype = config, dtype
        self.weights = {
            name: torch.tensor(np.asarray(x), dtype=dtype, requires_grad=True)
            for name, x in parameters.items()
        }
        self.statistics = {name: torch.tensor(np.asarray(x), dtype=dtype) for name, x in statistics.items()}

    def linear(self, name, x):
        return F.linear(x, self.weights[name + ".weight"], self.weights.get(name + ".bias"))

    def layernorm(self, name, x):
        return F.layer_norm(
            x, x.shape[-1:], self.weights[name + ".weight"], self.weights[name + ".bias"], 1e-5
        )

    @staticmethod
    def attention(q, k, v, mask=None):
        """(B, T, H 64) -> the same."""
        q, k, v = (x.unflatten(2, (-1, 64)).transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)

    def encode(self, batch):
        """z_e (B, T, C) and the mask of its keys."""
        z = F.linear(batch["patches"], self.weights["encoder.tokens.weight"])
        if "encoder.tokens.lead" in self.weights:
            z = z + F.embedding(batch["lead"], self.weights["encoder.tokens.lead"])
        if "encoder.tokens.bias" in self.weights:
            z = z + self.weights["encoder.tokens.bias"]
        if "encoder.tokens.temporal" in self.weights:
            z = z + F.embedding(batch["segment"], self.weights["encoder.tokens.temporal"])
        mask = None if batch["present"] is None else batch["present"][:, None, None, :]
        for i in range(self.config["depth"]):
            block = f"encoder.blocks.{i}."
            qkv = self.linear(block + "attention.qkv", self.layernorm(block + "norm1", z)).chunk(3, dim=2)
            z = z + self.linear(block + "attention.out", self.attention(*qkv, mask))
            hidden = F.gelu(self.linear(block + "mlp.fc1", self.layernorm(block + "norm2", z)))
            z = z + self.linear(block + "mlp.fc2", hidden)
        return z if self.config["final_norm"] else self.layernorm("encoder.norm", z), mask

    def resnet(self, batch, training):
        """z (B, 512, L) of SPEC 10."""
        c, patches = self.config, batch["patches"]
        B, P, S = len(patches), c["segment_samples"], round(c["fs"] * c["seconds"])
        x = torch.zeros(B, S // P, 12, P, dtype=self.dtype)
        if batch["present"] is None:
            x[torch.arange(B)[:, None], batch["segment"].long()] = patches.unflatten(2, (12, P))
        else:
            b, t = batch["present"].nonzero(as_tuple=True)
            x[b, batch["segment"][b, t].long()] = patches[b, t].unflatten(1, (12, P))
        x = x.transpose(1, 2).flatten(2)

        def convolve(name, x, stride):
            w = self.weights[name + ".weight"]
            w = w.unflatten(1, (-1, x.shape[1])).transpose(1, 2)
            norm = norm_of(name)
            return F.batch_norm(
                F.conv1d(x, w, stride=stride, padding=w.shape[2] // 2),
                self.statistics[norm + ".running_mean"],
                self.statistics[norm + ".running_var"],
                self.weights[norm + ".weight"],
                self.weights[norm + ".bias"],
                training,
                0.1,
                1e-5,
            )

        x = F.relu(convolve("encoder.stem", x, 2))
        for i in range(8):
            block, stride = f"encoder.residual.{i}.", 2 if i in (2, 4, 6) else 1
            y = convolve(block + "conv2", F.relu(convolve(block + "conv1", x, stride)), 1)
            x = F.relu(y + (convolve(block + "shortcut", x, 2) if stride == 2 else x))
        return x

    def attention_pool(self, z):
        x = self.linear("ecg_projector.down", z.transpose(1, 2)) + self.weights["ecg_projector.pool.positions"]
        x = torch.cat([self.weights["ecg_projector.pool.token"].expand(len(x), 1, -1), x], 1)
        k, v = self.linear("ecg_projector.pool.kv", x).chunk(2, dim=2)
        out = self.attention(self.linear("ecg_projector.pool.q", x[:, :1]), k, v)
        return self.linear("ecg_projector.pool.out", out)[:, 0]

    @staticmethod
    def pool(z, present):
        if present is None:
            return z.mean(1)
        present = present[:, :, None]
        return (z * present).sum(1) / present.sum(1)

    def query(self, entities, z_e, mask):
        """Logits (B, Q)."""
        q = self.linear("query.projection", entities)[None]  # (1, Q, K) until it meets ECGs
        memory = self.layernorm("query.memory_norm", self.linear("query.memory", z_e))
        alone = torch.eye(len(entities), dtype=torch.bool) if self.config["isolate_queries"] else None
        for i in range(self.config["query_layers"]):
            layer = f"query.layers.{i}."
            qkv = self.linear(layer + "self_attention.qkv", self.layernorm(layer + "norm1", q)).chunk(
                3, dim=2
            )
            q = q + self.linear(layer + "self_attention.out", self.attention(*qkv, alone))
            asked = self.linear(layer + "cross_attention.q", self.layernorm(layer + "norm2", q))
            k, v = self.linear(layer + "cross_attention.kv", memory).chunk(2, dim=2)
            asked = asked.expand(len(memory), -1, -1)
            q = q + self.linear(layer + "cross_attention.out", self.attention(asked, k, v, mask))
            hidden = F.relu(self.linear(layer + "mlp.fc1", self.layernorm(layer + "norm3", q)))
            q = q + self.linear(layer + "mlp.fc2", hidden)
        return self.linear("query.classifier", self.layernorm("query.norm", q))[:, :, 0]

    def projection_norm(self, name, x, training):
        if self.config["projection_norm"] == 1:
            return self.layernorm(name, x)
        if self.config["projection_norm"] == 2:
            return x
        return F.batch_norm(
            x,
            self.statistics[name + ".running_mean"],
            self.statistics[name + ".running_var"],
            self.weights[name + ".weight"],
            self.weights[name + ".bias"],
            training,
            0.1,
            1e-5,
        )

    def project_ecg(self, pooled, training):
        x = self.projection_norm("ecg_projector.norm1", self.linear("ecg_projector.fc1", pooled), training)
        x = self.projection_norm("ecg_projector.norm2", self.linear("ecg_projector.fc2", F.relu(x)), training)
        return F.normalize(x, dim=1, eps=1e-12)

    def project_text(self, report):
        hidden = F.gelu(self.linear("text_projector.fc1", report))
        return F.normalize(self.linear("text_projector.fc2", hidden), dim=1, eps=1e-12)

    def forward(self, batch, training=False):
        """logits, ecg, text, features of a padded batch. In training, running statistics move on."""
        if self.config["encoder"]:
            z = self.resnet(batch, training)
            ecg = F.normalize(self.attention_pool(z), dim=1, eps=1e-12)
            return dict(ecg=ecg, text=self.project_text(batch["report"]), features=z.mean(2))
        z_e, mask = self.encode(batch)
        pooled = self.pool(z_e, batch["present"])
        if self.config["final_norm"]:
            pooled = self.layernorm("encoder.norm", pooled)
        answers = dict(logits=self.query(batch["entities"], z_e, mask)) if self.config["query_weight"] else {}
        return dict(
            **answers,
            ecg=self.project_ecg(pooled, training),
            text=self.project_text(batch["report"]),
            features=pooled,
        )

    def contrast(self, ecg, text, ids=None):
        c = self.config
        scale = self.weights["contrast.log_scale"].exp() if c["learn_temperature"] else 1.0 / c["temperature"]
        s = scale * ecg @ text.T
        B = len(s)
        if c["contrast_positive"] and not c["mask_duplicates"]:
            target = torch.arange(B)
            e2t, t2e = F.cross_entropy(s, target), F.cross_entropy(s.T, target)
        else:
            diagonal = torch.eye(B, dtype=torch.bool)
            left_out = torch.zeros(B, B, dtype=torch.bool)
            if c["mask_duplicates"]:
                left_out |= (ids[:, None] == ids[None, :]) & ~diagonal
            if not c["contrast_positive"]:
                left_out |= diagonal
            counted = ~left_out.all(1)  # rows with anything in the denominator
            denominators = s.masked_fill(left_out, -math.inf)
            e2t = ((denominators[counted].logsumexp(1) - s.diagonal()[counted]).sum()) / B
            t2e = ((denominators.T[counted].logsumexp(1) - s.diagonal()[counted]).sum()) / B
        return {0: e2t, 1: (e2t + t2e) / 2, 2: e2t + t2e}[c["contrast_directions"]]

    def losses(self, batch):
        """contrast, unimodal, query, total of a training step, without dropout."""
        c, out = self.config, self.forward(batch, training=True)
        contrast = self.contrast(out["ecg"], out["text"], batch.get("report_id"))
        unimodal = query = torch.zeros((), dtype=self.dtype)
        if c["unimodal_weight"]:
            x = self.linear("ecg_projector.down", out["features"]) if c["encoder"] else out["features"]
            one, two = (F.normalize(self.linear(f"unimodal.linear{i}", x), dim=1) for i in (1, 2))
            scale = self.weights["contrast.log_scale"].exp() if c["learn_temperature"] else 1 / c["temperature"]
            s = scale * one @ two.T
            target = torch.arange(len(s))
            unimodal = F.cross_entropy(s, target) + F.cross_entropy(s.T, target)
        if c["query_weight"]:
            query = F.binary_cross_entropy_with_logits(out["logits"], batch["labels"])
            if c["query_reduction"]:
                query = query * batch["labels"].shape[1]
        found = dict(contrast=contrast, unimodal=unimodal, query=query)
        return dict(found, total=sum(c[name + "_weight"] * loss for name, loss in found.items()))

    def optimiser(self):
        """AdamW with weight decay on all parameters, or on the weights of linear layers alone."""
        c = self.config
        matrices = [
            name
            for name, x in self.weights.items()
            if x.ndim == 2 and not name.startswith(("encoder.tokens.lead", "encoder.tokens.temporal"))
        ]
        groups = [
            dict(
                params=[x for name, x in self.weights.items() if (name in matrices) == decays],
                weight_decay=c["weight_decay"] if decays or c["decay_all"] else 0.0,
            )
            for decays in (True, False)
        ]
        return torch.optim.AdamW(groups, lr=c["lr"], betas=(c["beta1"], c["beta2"]), eps=c["eps"])

    def lr(self, step, steps):
        """Of step 0, 1, ...: a linear warm-up to lr, then half a cosine to 0 over what is left."""
        c, warmup = self.config, self.config["warmup_steps"]
        if step < warmup:
            return c["lr"] * (step + 1) / warmup
        return c["lr"] * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

    def train(self, batches):
        """The losses of one step a batch, each before its update."""
        optimiser, history = self.optimiser(), []
        for step, batch in enumerate(batches):
            for group in optimiser.param_groups:
                group["lr"] = self.lr(step, len(batches))
            optimiser.zero_grad()
            losses = self.losses(batch)
            losses["total"].backward()
            for x in self.weights.values():  # parameters outside the loss decay all the same
                x.grad = torch.zeros_like(x) if x.grad is None else x.grad
            if self.config["clip"]:
                torch.nn.utils.clip_grad_norm_(list(self.weights.values()), self.config["clip"])
            optimiser.step()
            history.append({name: float(x.detach()) for name, x in losses.items()})
        return history
