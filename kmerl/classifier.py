"""A fine-tuned encoder with its linear head: what `kmerl.evaluate.fine_tune` trained, to keep and to use again."""

import dataclasses

import numpy as np

from kmerl import _kmerl
from kmerl.checkpoint import Checkpoint, Head
from kmerl.model import KMERL

__all__ = ["Classifier"]


class Classifier:
    """Probabilities of the classes that it was trained on, and of no others.

    Attributes
    ----------
    encoder : KMERL
        The fine-tuned copy; only its encoder was trained on.
    classes, leads : list of str
        What it answers, and the leads that it was trained on.
    weight, bias : ndarray of float32, (classes, width) and (classes,)
    """

    def __init__(self, encoder, head):
        self.encoder = encoder
        self.classes, self.leads, self.weight, self.bias = head.classes, head.leads, head.weight, head.bias

    def __repr__(self):
        return f"<Classifier: {len(self.classes)} classes, leads {' '.join(self.leads)}>"

    def predict_proba(self, x, leads=None, fs=None):
        """Probabilities from the first ten seconds, as in fine-tuning.

        Parameters
        ----------
        x, leads, fs
            As for `KMERL.predict_proba`.

        Returns
        -------
        ndarray float32 (classes,) or (n, classes)
        """
        features = self.encoder.encode(x, leads, fs, windows="first")
        rows = np.ascontiguousarray(np.atleast_2d(features))
        answer = _kmerl.sigmoid(_kmerl.probe_apply(rows, self.weight, self.bias))
        return answer[0] if features.ndim == 1 else answer

    def save(self, path):
        """Writes a checkpoint with the head in it (docs/checkpoint.md); `kmerl.load_model` reads its encoder.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist; none is created.
        """
        head = Head(self.classes, self.leads, self.weight, self.bias)
        dataclasses.replace(self.encoder._checkpoint(), head=head).write(path)

    @classmethod
    def load(cls, path):
        """The classifier that `save` wrote.

        Raises
        ------
        FileNotFoundError, OSError
            If it cannot be read.
        ValueError
            No checkpoint, a damaged one, or one without a head.
        """
        checkpoint = Checkpoint.read(path)
        if checkpoint.head is None:
            raise ValueError(f"{path}: a checkpoint without a head, expected one that Classifier.save wrote")
        return cls(KMERL._of(checkpoint), checkpoint.head)
