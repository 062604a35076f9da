"""Class names of the evaluation tasks: one frozen table keyed by (data set, code)."""

from __future__ import annotations

import functools
import json
from pathlib import Path


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, str]]:
    return json.loads((Path(__file__).parent / "data" / "class_names.json").read_text(encoding="utf-8"))


def class_names(task: str | None = None) -> dict:
    """Names that stand for the classes of the six evaluation tasks in zero-shot queries.

    Parameters
    ----------
    task : str, optional
        "ptbxl-super", "ptbxl-sub", "ptbxl-form", "ptbxl-rhythm", "cpsc2018" or "csn".

    Returns
    -------
    dict
        Code -> name for one task, in the order of MERL's tables; without `task`, task -> code -> name
        for all: 106 names of 86 distinct codes.

    Raises
    ------
    KeyError
        The task is unknown.

    Notes
    -----
    SPEC section 9: Table 5's wording where it names the class, else the data set's own description,
    lower case.
    """
    table = _table()
    if task is None:
        return {name: dict(names) for name, names in table.items()}
    key = task.lower().replace("_", "-") if isinstance(task, str) else task
    if key not in table:
        raise KeyError(f"task is {task!r}, must be one of {', '.join(table)}")
    return dict(table[key])
