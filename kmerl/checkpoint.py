"""Checkpoints: one safetensors file with the whole story in its header (docs/checkpoint.md)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

import numpy as np

from . import safetensors
from .config import Config
from .leads import LEADS

__all__ = ["Checkpoint", "Head", "Names", "folded"]

FORMAT = "kmerl checkpoint 1"
_REAL = "float32"


@dataclass
class Names:
    """Text embeddings that travel with a model: what it answers without a text encoder.

    Attributes
    ----------
    texts : list of str
        Entity names, synonyms, class names.
    query : ndarray (n, text_width) float32
        Pooled as queries.
    contrast : ndarray (n, text_width) float32, or None
        Pooled as reports, for the cosine; None in a model that was trained without contrast, which has no cosine.
    """

    texts: list[str]
    query: np.ndarray
    contrast: np.ndarray | None

    def answered(self, vocabulary=None):
        """Every text that needs no text encoder: these, and the names and synonyms of the vocabulary, each once
        whatever its case."""
        known = {folded(text): text for text in self.texts}
        for entity in vocabulary or ():
            for text in (entity, *vocabulary[entity].synonyms):
                known.setdefault(folded(text), text)
        return list(known.values())


@dataclass
class Head:
    """A linear layer on the encoder's feature: ``sigmoid(weight @ feature + bias)``.

    Attributes
    ----------
    classes : list of str
    leads : list of str
        Those that it was trained on.
    weight, bias : ndarray (classes, width) and (classes,) float32
    """

    classes: list[str]
    leads: list[str]
    weight: np.ndarray
    bias: np.ndarray


@dataclass
class Checkpoint:
    """What a file holds."""

    config: Config
    parameters: dict
    statistics: dict
    names: Names | None = None
    vocabulary: str | None = None           # its JSON
    text_encoder: str | None = None         # its id
    training: dict = field(default_factory=dict)    # step, epoch, validation loss, store, ...
    moments: dict | None = None             # {"m": {name: array}, "v": {name: array}}, in a run's last.safetensors
    library: str = ""
    head: Head | None = None

    def write(self, path, dtype=_REAL) -> None:
        """Writes the file: whole, or not at all.

        Parameters
        ----------
        path : path-like
        dtype : {"float32", "float16"}
            Of every number: float16 rounds to the nearest, ties to even, and takes half the space.

        Raises
        ------
        ValueError
            If `dtype` is none of these, or a number is beyond float16's 65,504.
        FileNotFoundError
            If the folder does not exist: none is created.
        OSError
            If it cannot be written.
        """
        if dtype not in (_REAL, "float16"):
            raise ValueError(f"dtype must be {_REAL!r} or 'float16', got {dtype!r}")
        path = os.fspath(path)
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"path: the folder {folder!r} does not exist; create it first")
        tensors = {**self.parameters, **self.statistics}
        if self.names is not None:
            tensors["names.query"] = self.names.query
            if self.config.contrast_weight > 0:     # without contrast nothing asks for them
                tensors["names.contrast"] = self.names.contrast
        for moment, arrays in (self.moments or {}).items():
            tensors.update({f"optimiser.{moment}.{name}": array for name, array in arrays.items()})
        metadata = {
            "format": FORMAT,
            "library": self.library,
            "config": self.config.to_json(),
            "leads": json.dumps(list(LEADS)),
            "training": json.dumps(self.training, sort_keys=True),
        }
        if self.names is not None:
            metadata["names"] = json.dumps(self.names.texts, ensure_ascii=False)
        if self.vocabulary is not None:
            metadata["vocabulary"] = self.vocabulary
        if self.text_encoder is not None:
            metadata["text_encoder"] = self.text_encoder
        if self.head is not None:
            tensors |= {"head.weight": self.head.weight, "head.bias": self.head.bias}
            metadata["head"] = json.dumps({"classes": self.head.classes, "leads": self.head.leads}, ensure_ascii=False)
        if dtype == "float16":
            tensors = {name: _half(name, array) for name, array in tensors.items()}
        safetensors.write(path, tensors, metadata)

    @classmethod
    def read(cls, path) -> Checkpoint:
        """Reads and checks a file.

        Raises
        ------
        FileNotFoundError, OSError
            If it cannot be read.
        ValueError
            If it is no checkpoint, is truncated, or holds missing, unexpected or misshapen tensors; all are listed.
        """
        from . import _kmerl

        path = os.fspath(path)
        tensors, metadata = safetensors.read(path, float32=True)
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path}: not a kmerl checkpoint (format is {metadata.get('format')!r}, "
                             f"expected {FORMAT!r})")
        try:
            config = Config.from_json(metadata["config"])
            leads, training = _json(metadata, "leads", list), _json(metadata, "training", dict)
            texts = _json(metadata, "names", list) if "names" in metadata else None
            if texts and not _texts(texts):
                raise ValueError("names must be a list of texts")
            _check_training(training)
            head = _json(metadata, "head", dict) if "head" in metadata else None
            if head is not None and not all(_texts(head.get(name)) for name in ("classes", "leads")):
                raise ValueError("head must hold classes and leads, lists of texts")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: its header cannot be used: {error}") from None
        if leads != list(LEADS):
            raise ValueError(f"{path}: its leads are {leads}, expected {list(LEADS)}")
        if config.text_width is None:
            raise ValueError(f"{path}: its configuration lacks text_width")

        # Compared with the file before anything is allocated.
        parameters, statistics = _kmerl.layout(config.to_core())
        expected = {**parameters, **statistics}
        if texts is not None:
            expected["names.query"] = (len(texts), config.text_width)
            if config.contrast_weight > 0 or "names.contrast" in tensors:
                expected["names.contrast"] = (len(texts), config.text_width)
        if head is not None:
            expected["head.weight"] = (len(head["classes"]), config.width)
            expected["head.bias"] = (len(head["classes"]),)
        if any(name.startswith("optimiser.") for name in tensors):
            for moment in "mv":
                expected.update({f"optimiser.{moment}.{name}": shape for name, shape in parameters.items()})
        problems = [f"missing {name} {shape}" for name, shape in expected.items() if name not in tensors]
        problems += [f"unexpected {name}" for name in tensors if name not in expected]
        problems += [f"{name} has shape {tensors[name].shape}, expected {tuple(shape)}"
                     for name, shape in expected.items()
                     if name in tensors and tensors[name].shape != tuple(shape)]
        problems += [f"{name} has type {array.dtype}, expected {_REAL}"
                     for name, array in tensors.items() if name in expected and array.dtype != _REAL]
        problems += [f"{name} has NaN or infinite numbers" for name, array in tensors.items()
                     if name in expected and not np.isfinite(array).all()]
        if problems:
            shown = "; ".join(problems[:20]) + (f"; and {len(problems) - 20} more" if len(problems) > 20 else "")
            raise ValueError(f"{path}: its tensors are not those of its configuration: {shown}")

        moments = None
        if "optimiser.m." + next(iter(parameters)) in tensors:
            moments = {moment: {name: tensors[f"optimiser.{moment}.{name}"] for name in parameters} for moment in "mv"}
        names = Names(texts, tensors["names.query"], tensors.get("names.contrast")) if texts is not None else None
        if head is not None:
            head = Head(head["classes"], head["leads"], tensors["head.weight"], tensors["head.bias"])
        return cls(config, {name: tensors[name] for name in parameters},
                   {name: tensors[name] for name in statistics}, names,
                   metadata.get("vocabulary"), metadata.get("text_encoder"), training, moments,
                   metadata.get("library", ""), head)


def folded(text):
    """What texts are compared by: case and runs of spaces make no difference."""
    return " ".join(text.casefold().split())


def _half(name, array):
    """float32 -> float16, rounded to nearest, ties to even."""
    with np.errstate(over="ignore"):
        half = np.asarray(array, np.float32).astype(np.float16)
    if np.isinf(half).any():
        raise ValueError(f"{name} holds {np.abs(array).max():g}, more than float16 can: save with dtype={_REAL!r}")
    return half


def _texts(value):
    return isinstance(value, list) and value and all(isinstance(text, str) for text in value)


_COUNTS = ("step", "validated", "epoch", "best_step", "nonfinite")


def _check_training(training):
    """ValueError unless the numbers of a run are numbers."""
    for name in _COUNTS:
        value = training.get(name, 0)
        if not (type(value) is int and 0 <= value < 2**48 or value is None and name == "best_step"):
            raise ValueError(f"training: {name} is {value!r:.40}, expected a whole number")
    for name in ("val_loss", "best_val_loss"):
        if not isinstance(training.get(name), (int, float, type(None))):
            raise ValueError(f"training: {name} is {training[name]!r:.40}, expected a number")


def _json(metadata, name, kind):
    """The value of a JSON text in the header."""
    try:
        value = json.loads(metadata[name])
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is no JSON: {error}") from None
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a JSON {'object' if kind is dict else 'array'}")
    return value
