"""kmerl: zero-shot answers about ECGs, from any leads."""

__version__ = "0.1.0"
