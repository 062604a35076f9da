"""The models that come with the package: their names, their files, whether these are whole.

``kmerl/data/models/models.json`` maps each name to ``sha256`` and ``bytes`` of its file, NAME.safetensors beside it,
and to ``about``, a line for people. ``tools/install_model.py`` writes both.
"""

import difflib
import hashlib
import json
import pathlib

__all__ = ["DEFAULT", "FOLDER", "about", "list_models", "unknown_model", "whole_file"]

FOLDER = pathlib.Path(__file__).resolve().parent / "data" / "models"
DEFAULT = "kmerl-tiny"  # what the shell asks where no checkpoint is named


def _manifest():
    path = FOLDER / "models.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def list_models():
    """Names of the models that come with the package, for :func:`kmerl.load_model`.

    Returns
    -------
    list of str
    """
    return sorted(_manifest())


def about(name):
    """A line about a model of `list_models`, and the size of its file in bytes."""
    entry = _manifest()[name]
    return entry["about"], entry["bytes"]


def whole_file(name):
    """Path of a model's file.

    Raises
    ------
    FileNotFoundError
        If it is missing from the installation.
    ValueError
        If it is not the file that was shipped.
    """
    entry, path = _manifest()[name], FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{name}: {path} is missing from this installation of kmerl; install kmerl again")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != entry["sha256"]:
        raise ValueError(
            f"{name}: {path} is damaged: {len(data):,} bytes with sha256 {found[:12]}..., expected "
            f"{entry['bytes']:,} with {entry['sha256'][:12]}...; install kmerl again"
        )
    return str(path)


def unknown_model(name):
    """The message for a name that is neither a file nor a model of the package."""
    names = list_models()
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return (
        f"there is no checkpoint {name!r}, and no model of that name comes with kmerl"
        + (f"; did you mean {near[0]!r}?" if near else "")
        + f" (kmerl.list_models() gives {names})"
    )
