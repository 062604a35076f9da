"""Every choice that decides what is computed, by name, with its default (SPEC 1-7)."""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
from dataclasses import dataclass

import numpy as np

__all__ = ["Config", "SIZES", "PRESETS"]

#: Encoder sizes (SPEC 3): width, depth, heads, MLP width.
SIZES = {
    "tiny": (192, 12, 3, 768),
    "small": (384, 12, 6, 1536),
    "middle": (512, 12, 8, 2048),
    "base": (768, 12, 12, 3072),
}

#: Named sets of choices. "paper": SPEC 7, last part; exceptions are listed there. "merl-...": SPEC 10.
PRESETS = {
    "paper": {
        "normalisation": "minmax",
        "normalisation_scope": "present",
        "dropout": 0.1,
    },
    # MERL with its ViT (SPEC 10), trained as the paper trains K-MERL.
    "merl-vit": {
        "normalisation": "minmax",
        "normalisation_scope": "present",
        "segment_samples": 50,
        "tokenisation": "agnostic",
        "token_bias": True,
        "final_norm": "mean",
        "masked_leads": (0,),
        "segment_masking": "none",
        "report_pooling": "pooler",
        "unimodal_weight": 1.0,
        "query_weight": 0.0,
    },
    # MERL with ResNet-18 (SPEC 10).
    "merl-resnet": {
        "encoder": "resnet18",
        "normalisation": "minmax",
        "normalisation_scope": "present",
        "segment_samples": 50,
        "tokenisation": "agnostic",
        "temporal_embedding": False,
        "masked_leads": (0,),
        "segment_masking": "none",
        "report_pooling": "pooler",
        "projection_norm": "none",
        "unimodal_weight": 1.0,
        "query_weight": 0.0,
    },
}

# Fields whose value is one of a few names, in the order of the core's enums (csrc/model/config.h).
_CHOICES = {
    "encoder": ("vit", "resnet18"),
    "normalisation": ("zscore", "minmax", "lead", "none"),
    "normalisation_scope": ("visible", "present"),
    "window": ("first", "random"),
    "tokenisation": ("lead", "agnostic"),
    "segment_masking": ("lead", "at once", "none"),
    "final_norm": ("tokens", "mean"),
    "projection_norm": ("batch", "layer", "none"),
    "contrast_directions": ("e2t", "mean", "sum"),
    "query_reduction": ("mean", "sum"),
    "query_init": ("normal", "centred"),
    "lead_pooling": ("joint", "mean"),
    "decay": ("matrices", "all"),
    "precision": ("float32", "bf16"),
    "report_pooling": ("mean", "cls", "pooler"),
    "query_pooling": ("cls", "mean", "pooler"),
}

# Fields that say how a run is executed, not what it computes: they may change when a run is resumed.
EXECUTION = ("threads", "memory_mb")

# Fields that older checkpoints lack. Their defaults are what was computed then.
ADDED = ("weight_std", "query_init", "lead_pooling")


@dataclass
class Config:
    """What is computed. Unknown names, wrong types and contradictions are errors.

    Attributes
    ----------
    encoder : {"vit", "resnet18"}
        The transformer, or MERL's ResNet-18 (SPEC 10), which has neither `size` nor tokens nor a query network: the
        preset ``merl-resnet`` sets what goes with it.
    size : str or None
        Size of the transformer: ``tiny``, ``small``, ``middle``, ``base`` (SPEC 3), or ``custom`` with the next four
        given. None: ``tiny``.
    width, depth, heads, mlp_width : int or None
        None: those of `size`. Head size is 64, so ``width == 64 * heads``. ResNet-18 is 512 wide.
    fs : float
        Sampling rate in Hz that every recording is brought to.
    seconds : float
        Length of a window in s. ``fs * seconds`` must be a multiple of `segment_samples`.
    window : {"first", "random"}
        Which window of a longer recording training takes.
    max_missing : float
        A lead with a larger share of missing samples is absent.
    normalisation : {"zscore", "minmax", "lead", "none"}
        SPEC 1. ``lead``: as ``zscore``, each lead by its own standard deviation.
    normalisation_scope : {"visible", "present"}
        Whose statistics: the visible leads, or all that the recording has, before masking.
    segment_samples : int
        Samples in a token (P; Fig. 7a); with ``resnet18`` in a piece of a batch: recordings are whole pieces.
    tokenisation : {"lead", "agnostic"}
        ``agnostic``: one token for all twelve leads, as MERL (Tab. 7a).
    lead_embedding, temporal_embedding : bool
        Eq. 2 and 3 (Tab. 7a). None for `lead_embedding`: as the tokenisation needs.
    token_bias : bool
        A bias beside W, with ``agnostic`` tokens: MERL's convolution has one.
    final_norm : {"tokens", "mean"}
        What the encoder's last LayerNorm acts on: the tokens, whose mean is the feature, or their mean (MERL's ViT).
    masked_leads : sequence of int, or mapping of int to float
        Numbers of masked leads, drawn uniformly or with the given weights (Sec. 2.3). ``(0,)``: none.
    segment_masking : {"lead", "at once", "none"}
        Segments masked in each lead apart, over all visible tokens at once, or not (Tab. 2c).
    mask_ratio : float
        Share of segments masked.
    text_width : int or None
        Width of the text embeddings; None: taken from the store.
    report_pooling, query_pooling : str
        Pooling of the reports' and of the entity names' embeddings (SPEC 4).
    projection_width : int
        Width of the contrast space.
    projection_norm : {"batch", "layer", "none"}
        Normalisation in the ECG projector (SPEC 5).
    temperature : float
        Of the contrast; `learn_temperature` makes its log-scale a parameter.
    contrast_directions : {"sum", "mean", "e2t"}
        Sum or mean of both directions, or ECG to text alone.
    contrast_positive : bool
        False: the positive pair is left out of the denominator (Eq. 4, decoupled).
    mask_duplicates : bool
        True: pairs with the same report are no negatives.
    contrast_weight, query_weight : float
        Weights of the two losses (Tab. 10). 0 switches one off (Tab. 2a); with `query_weight` goes the query network.
    unimodal_weight, unimodal_dropout : float
        MERL's uni-modal contrast between two linear maps of the feature, with dropout behind each (SPEC 10). 0: none.
    query_width, query_layers, query_heads, query_mlp_width : int
        The cardiac query network (SPEC 6; Tab. 7d, 7e). Head size is 64.
    isolate_queries : bool
        True: a class's answer does not depend on the other classes asked.
    dropout : float
        In the query network.
    query_reduction : {"mean", "sum"}
        Of its loss over the entities.
    query_init : {"normal", "centred"}
        First values of the projection that reads the names' embeddings: drawn as those of all matrices, or these
        moved and scaled so that the queries of the names that are taught have mean 0 and mean square 1. Names share
        most of what their embeddings say; centred, a network tells them apart sooner.
    lead_pooling : {"joint", "mean"}
        How the query network answers about several leads: from the tokens of all together, or about each lead alone,
        as if the recording had no other, and then by the mean of the logits. Training is the same.
    lr, betas, eps, weight_decay, decay, clip, warmup_steps : optimiser (SPEC 7)
        `decay`: ``all`` parameters or ``matrices`` only. `clip`: largest global gradient norm, 0: none.
    batch_size, epochs, seed : int
        The last partial batch of an epoch is dropped unless it is the only one.
    weight_std : float
        Standard deviation of the matrices' first values, a normal distribution cut at two of them (SPEC 3).
        Small networks learn sooner from about ``1 / sqrt(width)``.
    precision : {"float32", "bf16"}
        Of the factors of matrix products in encoder and query network, in training and in answers. ``bf16``:
        rounded to bfloat16; sums, weights, softmax, norms, contrast, losses and optimiser stay float32. Fast where
        the processor has instructions for it (AVX-512 BF16), slower than ``float32`` elsewhere: docs/performance.md.
    threads : int or None
        None: ``OMP_NUM_THREADS``, else the processors this process may use. Changes no bit of any result.
    lanes, span_recordings, span_tokens : int
        How a batch is cut up for summing gradients: part of what is computed, to the last bit, on any
        number of threads.
    memory_mb : int
        A training step's place in MB: each thread's, each lane's gradients, and at least half of it for activations
        kept between the sweeps; what does not fit is computed again (ResNet-18 counts the kept alone: 9 of 20 MB a
        recording in any case). Changes no bit.
    """

    encoder: str = "vit"
    size: str | None = None
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    mlp_width: int | None = None
    fs: float = 500.0
    seconds: float = 10.0
    window: str = "first"
    max_missing: float = 0.2
    normalisation: str = "zscore"
    normalisation_scope: str = "visible"
    segment_samples: int = 100
    tokenisation: str = "lead"
    lead_embedding: bool | None = None
    temporal_embedding: bool = True
    token_bias: bool = False
    final_norm: str = "tokens"
    masked_leads: object = (9, 10, 11)
    segment_masking: str = "lead"
    mask_ratio: float = 0.25
    text_width: int | None = None
    report_pooling: str = "mean"
    query_pooling: str = "cls"
    projection_width: int = 256
    projection_norm: str = "batch"
    temperature: float = 0.07
    learn_temperature: bool = False
    contrast_directions: str = "sum"
    contrast_positive: bool = True
    mask_duplicates: bool = False
    contrast_weight: float = 1.0
    unimodal_weight: float = 0.0
    unimodal_dropout: float = 0.1
    query_width: int = 256
    query_layers: int = 4
    query_heads: int = 4
    query_mlp_width: int = 1024
    isolate_queries: bool = False
    dropout: float = 0.0
    query_reduction: str = "mean"
    query_weight: float = 1.0
    query_init: str = "normal"
    lead_pooling: str = "joint"
    lr: float = 2e-4
    betas: tuple = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-5
    decay: str = "all"
    clip: float = 0.0
    warmup_steps: int = 0
    batch_size: int = 512
    epochs: int = 50
    seed: int = 0
    weight_std: float = 0.02
    precision: str = "float32"
    threads: int | None = None
    lanes: int = 8
    span_recordings: int = 4
    span_tokens: int = 1024
    memory_mb: int = 1024

    def __post_init__(self):
        for field in dataclasses.fields(self):
            setattr(self, field.name, _check(field.name, field.type, getattr(self, field.name)))
        self._resolve_size()
        if self.lead_embedding is None:
            self.lead_embedding = self.tokenisation == "lead"
        for name, value in (("query_init", "centred"), ("lead_pooling", "mean")):
            if getattr(self, name) == value and self.query_weight == 0:
                raise ValueError(f"{name}={value!r} is about the query network, which query_weight=0 leaves out")
        # The core knows the ranges and contradictions of numbers; a text width stands in where none is known yet.
        from . import _kmerl

        _kmerl.check_config(self.to_core(1 if self.text_width is None else self.text_width))

    def _resolve_size(self):
        """width, depth, heads and mlp_width of `size`, or what they contradict."""
        names = ("width", "depth", "heads", "mlp_width")
        given = {name: getattr(self, name) for name in names}
        if self.encoder == "resnet18":
            if self.size is not None or any(given[name] is not None for name in names[1:]) or \
                    given["width"] not in (None, 512):
                raise ValueError("encoder='resnet18' has one size, 512 wide: leave size, width, depth, heads and "
                                 "mlp_width as None")
            self.width = 512
            return
        if self.size is None:
            self.size = "tiny"
        if self.size == "custom":
            if None in given.values():
                raise ValueError("size='custom' needs width, depth, heads and mlp_width, got "
                                 + ", ".join(f"{name}={value}" for name, value in given.items()))
            return
        if self.size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)} or custom, got {self.size!r}")
        for name, value in zip(names, SIZES[self.size], strict=True):
            if given[name] not in (None, value):
                raise ValueError(f"{name}={given[name]} contradicts size={self.size!r}, whose {name} is {value}; "
                                 "use size='custom' for other shapes")
            setattr(self, name, value)

    def to_core(self, text_width: int | None = None) -> dict:
        """The same as numbers: what the C core takes (csrc/model/config.h)."""
        text_width = text_width if text_width is not None else self.text_width
        if text_width is None:
            raise ValueError("text_width is not known yet: give it, or fit on a store")
        core = {}
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if name in ("size", "betas", "masked_leads", "threads", "report_pooling", "query_pooling", "query_init",
                        "lead_pooling", "decay"):
                continue
            core[name] = _CHOICES[name].index(value) if name in _CHOICES else \
                int(value) if isinstance(value, bool) else 0 if value is None else value
        core["text_width"] = text_width
        core["beta1"], core["beta2"] = self.betas
        core["decay_all"] = _CHOICES["decay"].index(self.decay)
        core["masked_leads"] = masked_distribution(self.masked_leads)
        return core

    def to_json(self) -> str:
        """What is computed as one JSON object, sorted: the same text for the same configuration, however it is
        executed (`threads` and `memory_mb` are left out)."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if name not in EXECUTION}
        values["masked_leads"] = _masked_to_json(self.masked_leads)
        values["betas"] = list(self.betas)
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Config:
        """The configuration of `to_json`'s text. Unknown and missing fields are errors that name them, but for
        fields that were not there yet when an older checkpoint was written: these have their defaults."""
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("a configuration must be a JSON object")
        known = {field.name for field in dataclasses.fields(cls)} - set(EXECUTION)
        if set(values) - known:
            raise ValueError(f"the configuration has fields this version does not know: "
                             f"{', '.join(sorted(set(values) - known))}")
        lacking = known - set(values) - set(ADDED)
        if lacking:
            raise ValueError(f"the configuration lacks the fields {', '.join(sorted(lacking))}")
        if isinstance(values["masked_leads"], dict):
            values["masked_leads"] = {int(count): weight for count, weight in values["masked_leads"].items()}
        else:
            values["masked_leads"] = tuple(values["masked_leads"])
        values["betas"] = tuple(values["betas"])
        return cls(**values)

    def difference(self, other: Config) -> list[str]:
        """Names of the fields, but for those of execution, in which `other` differs."""
        mine, theirs = json.loads(self.to_json()), json.loads(other.to_json())
        return [name for name in mine if mine[name] != theirs[name]]


def masked_distribution(masked) -> list[float]:
    """Probability of 0 to 11 masked leads."""
    weights = masked if isinstance(masked, dict) else {count: 1.0 for count in masked}
    total = sum(weights.values())
    return [weights.get(count, 0.0) / total for count in range(12)]


def _masked_to_json(masked):
    return {str(count): weight for count, weight in masked.items()} if isinstance(masked, dict) else list(masked)


def _is_finite(name, value):
    """Whether it is a finite number; a whole number beyond any float is a ValueError."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        raise ValueError(f"{name} must be a finite number, got a whole number beyond 1e308") from None


def _check_masked(value):
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = (value,)
    if isinstance(value, dict):
        checked = {}
        for count, weight in value.items():
            if not _is_finite("masked_leads", weight) or weight < 0:
                raise ValueError(f"masked_leads: the weight of {count} masked leads must be a number >= 0, "
                                 f"got {weight!r}")
            checked[_count(count)] = float(weight)
        if not checked or sum(checked.values()) <= 0:
            raise ValueError("masked_leads: the weights must not all be 0")
        return dict(sorted(checked.items()))
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise TypeError("masked_leads must be numbers of masked leads, or a mapping of numbers to weights, "
                        f"got {value!r}")
    checked = tuple(_count(count) for count in value)
    if not checked:
        raise ValueError("masked_leads is empty: expected at least one number of masked leads; (0,) masks none")
    if len(set(checked)) != len(checked):
        raise ValueError(f"masked_leads names a number twice: {checked}; give weights as a mapping instead")
    return checked


def _count(value) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not 0 <= value <= 11:
        raise ValueError(f"masked_leads must hold numbers from 0 to 11, got {value!r}")
    return int(value)


def _check(name: str, kind: str, value):
    """`value` as the type that field `name` has, or an error that names the field."""
    if name == "masked_leads":
        return _check_masked(value)
    if name == "betas":
        if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
            raise TypeError(f"betas must be two numbers, got {value!r}")
        return tuple(_check("beta", "float", beta) for beta in value)
    if value is None:
        if "None" in kind:
            return None
        raise TypeError(f"{name} must not be None")
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, _CHOICES[name]))}, got {value!r}")
        return value
    if kind.startswith("bool"):
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False, got {value!r}")
        return bool(value)
    if kind.startswith("int"):
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise TypeError(f"{name} must be an integer, got {value!r}")
        low, high = (1, 4096) if name == "threads" else (-2**63, 2**63 - 1)
        if not low <= value <= high:
            raise ValueError(f"{name} must be between {low} and {high}, got {value}")
        return int(value)
    if kind.startswith("float"):
        if not _is_finite(name, value):
            raise TypeError(f"{name} must be a finite number, got {value!r}")
        return float(value)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {value!r}")
    return value
