"""The paper's tables and figures as files: which rows, what each changes, how it is measured, what the paper has.

One JSON file a table in ``kmerl/ablations``; docs/reproduce.md describes the format."""

import dataclasses
import json
import math
import numbers
import os
import pathlib
import re

from kmerl.classes import class_names
from kmerl.config import PRESETS, Config
from kmerl.metrics import METRICS
from kmerl.patterns import repeated

__all__ = ["Column", "Row", "Table", "list_tables", "load_table"]

FOLDER = pathlib.Path(__file__).resolve().parent / "ablations"
FIGURE_ONLY = "figure only"  # the paper has a bar or a curve there, and no number
_FIELDS = {field.name for field in dataclasses.fields(Config)}

# A row's "labels": arguments of kmerl.LLMExtractor, or switches of the vocabulary, with the type of their values.
LABELS = {"extractor": str, "prompts": dict, "superclasses": bool, "merge_synonyms": bool}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One way of measuring, a column of the table.

    Attributes
    ----------
    name : str
    evaluation : {"zero_shot", "linear_probe", "extraction"}
        ``extraction``: share of correct (report, entity) decisions on a gold set (Tables 8 and 9).
    leads : int
        The first k of the paper's order.
    fraction : float or None
        Share of the training recordings that a linear probe sees.
    metric : str
        One of `kmerl.metrics.METRICS`.
    classes : {"all", "seen", "unseen"}
        Which of the data set's classes the mean is over (Sec. 3.3).
    """

    name: str
    evaluation: str
    leads: int = 12
    fraction: float | None = None
    metric: str = "roc_auc"
    classes: str = "all"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row: what is changed against the table's preset, and what the paper found.

    Attributes
    ----------
    name : str
    preset : str
        Of `kmerl.KMERL`; by default the table's.
    config : dict
        Fields of `kmerl.Config` that this row changes.
    labels : dict
        Another extractor, prompt or vocabulary: ``extractor`` (a name that the user gives a server for),
        ``prompts`` (as `kmerl.LLMExtractor` takes them), ``superclasses``, ``merge_synonyms``.
    encoder : str or None
        Another text encoder: a name that the user gives a folder for.
    class_texts : {None, "ckepe"}
        What is asked in place of the class names.
    from_scratch : bool
        Not pretrained: the random network is trained end to end on each data set's labels.
    quoted : bool
        Only quoted; kmerl has no such method.
    needs : str
        What kmerl lacks to run this row.
    reading : str
        How the row was understood where the paper leaves it open.
    paper : dict
        ``{column: {"each": [one a data set] or "figure only" or None, "average": number, "figure only" or None,
        "sd": number or None}}``.
    """

    name: str
    preset: str
    config: dict
    labels: dict
    encoder: str | None
    class_texts: str | None
    from_scratch: bool
    quoted: bool
    needs: str
    reading: str
    paper: dict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """A table or figure of the paper.

    Attributes
    ----------
    name, title, source : str
        `source` is where the quoted figures stand; empty for a table that is not the paper's.
    preset : str
    datasets : tuple of str
        The sets that the paper's averages are over.
    layout : {"average", "each"}
        Whether the paper shows the average over the sets or each of them.
    seeds : tuple of int
    columns : tuple of Column
    rows : tuple of Row
    notes : tuple of str
    """

    name: str
    title: str
    source: str
    preset: str
    datasets: tuple
    layout: str
    seeds: tuple
    columns: tuple
    rows: tuple
    notes: tuple


def list_tables():
    """Names of the tables that come with kmerl, as `load_table` and `kmerl.ablate` take them.

    Returns
    -------
    list of str
    """

    def order(name):  # tables by number and letter, then figures, then what is no table of the paper
        word, number, letter = re.fullmatch(r"([a-z]*)(\d*)([a-z]*)", name).groups()
        return (not number, word, int(number or 0), letter)

    return sorted((path.stem for path in FOLDER.glob("*.json")), key=order)


def load_table(table):
    """Reads and checks a table's file.

    Parameters
    ----------
    table : str or path-like
        A name of `list_tables`, as people write it ("2c", "Table 2c", "Fig. 9"), or a file of one's own (.json).

    Returns
    -------
    Table

    Raises
    ------
    FileNotFoundError
        No such table or file.
    ValueError
        A file with faults; the message names them all.
    """
    if not isinstance(table, (str, os.PathLike)):
        raise TypeError(f"table must be a name or a path, got {type(table).__name__}")
    text = os.fspath(table)
    path = pathlib.Path(text)
    if path.suffix != ".json":
        name = re.sub(r"^tab(le)?(?=\d)", "", re.sub(r"[\s._]+", "", text.lower()))
        name = re.sub(r"^fig(ure)?(?=\d)", "figure", name)
        path = FOLDER / f"{name}.json"
        if not path.is_file():
            known = ", ".join(list_tables())
            raise FileNotFoundError(f"there is no table {text!r}; there are {known}, or a .json file of your own")
    try:
        document = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no JSON in UTF-8: {error}") from None
    faults = []
    found = _table(document, faults)
    if faults:
        raise ValueError(f"{path}: {len(faults)} fault{'s' if len(faults) > 1 else ''}: " + "; ".join(faults))
    return found


def _unique(pairs):
    if twice := repeated(pairs):
        raise ValueError(f"the key {twice[0]!r} is there twice")
    return dict(pairs)


# ---- Checks: each fault is one sentence that says where ----

_TABLE = {"table": str, "title": str, "source": str, "preset": str, "datasets": list, "layout": str, "seeds": list,
          "columns": list, "rows": list, "notes": list}  # fmt: skip
_COLUMN = {"name": str, "evaluation": str, "leads": int, "fraction": float, "metric": str, "classes": str}
_ROW = {"name": str, "preset": str, "config": dict, "labels": dict, "encoder": str, "class_texts": str,
        "from_scratch": bool, "quoted": bool, "needs": str, "reading": str, "paper": dict}  # fmt: skip
_CALLED = {str: "a text", list: "a list", dict: "an object", bool: "true or false", int: "a whole number",
           float: "a number"}  # fmt: skip


def _table(document, faults):
    document = _fields(document, "the file", _TABLE, ("table", "title", "columns", "rows"), faults)
    preset = document.get("preset", "paper")
    _choice(preset, "preset", PRESETS, faults)
    layout = document.get("layout", "average")
    _choice(layout, "layout", ("average", "each"), faults)
    datasets = document.get("datasets", list(class_names()))
    for name in datasets:
        _choice(name, "datasets", class_names(), faults)
    seeds = document.get("seeds", [0])
    if not seeds or any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds):
        faults.append(f"seeds: got {seeds}, expected whole numbers from 0")
    given = {what: document.get(what, []) for what in ("columns", "rows")}
    names = {what: [value["name"] for value in values if isinstance(value, dict) and _is(value.get("name"), str)]
             for what, values in given.items()}  # fmt: skip
    columns = [_column(column, f"columns[{i}]", faults) for i, column in enumerate(given["columns"])]
    rows = [_row(row, f"rows[{i}]", preset, names["columns"], datasets, faults) for i, row in enumerate(given["rows"])]
    for what, called in names.items():
        if document.get(what) == []:
            faults.append(f"{what} is empty")
        for name in sorted({name for name in called if called.count(name) > 1}):
            faults.append(f"{what}: the name {name!r} is there twice")
    if not re.fullmatch(r"\w[\w.-]*", document.get("table", "x")):  # results are files of this name
        faults.append(f"table: got {document['table']!r}, expected letters, digits, '.', '-' and '_'")
    if not all(isinstance(note, str) for note in document.get("notes", ())):
        faults.append(f"notes: got {document['notes']}, expected texts")
    if faults:
        return None
    return Table(
        name=document["table"],
        title=document["title"],
        source=document.get("source", ""),
        preset=preset,
        datasets=tuple(datasets),
        layout=layout,
        seeds=tuple(seeds),
        columns=tuple(columns),
        rows=tuple(rows),
        notes=tuple(document.get("notes", ())),
    )


def _fields(value, where, known, needed, faults):
    """The known fields of the right types, whatever else is wrong: the checks go on with them."""
    if not isinstance(value, dict):
        faults.append(f"{where}: got {_kind(value)}, expected an object")
        return {}
    for name in value:
        if name not in known:
            faults.append(f"{where}: unknown field {name!r}, known are {', '.join(known)}")
        elif not _is(value[name], known[name]):
            faults.append(f"{where}: {name} is {_kind(value[name])}, expected {_CALLED[known[name]]}")
    faults += [f"{where}: the field {name!r} is missing" for name in needed if name not in value]
    return {name: found for name, found in value.items() if name in known and _is(found, known[name])}


def _is(value, kind):
    if kind is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _kind(value):
    return "null" if value is None else next((name for kind, name in _CALLED.items() if _is(value, kind)), repr(value))


def _choice(value, where, known, faults):
    if value not in list(known):  # a list is no key
        faults.append(f"{where}: got {value!r}, expected one of {', '.join(map(repr, known))}")


def _column(value, where, faults):
    value = _fields(value, where, _COLUMN, ("name", "evaluation"), faults)
    if not {"name", "evaluation"} <= set(value):
        return None
    column = Column(**value)
    where = f"column {column.name!r}"
    _choice(column.evaluation, f"{where}: evaluation", ("zero_shot", "linear_probe", "extraction"), faults)
    _choice(column.metric, f"{where}: metric", METRICS, faults)
    _choice(column.classes, f"{where}: classes", ("all", "seen", "unseen"), faults)
    if not 1 <= column.leads <= 12:
        faults.append(f"{where}: leads is {column.leads}, expected 1 to 12")
    if (column.evaluation == "linear_probe") != (column.fraction is not None):
        faults.append(f"{where}: fraction belongs to linear_probe, and linear_probe needs it")
    elif column.fraction is not None and not 0 < column.fraction <= 1:
        faults.append(f"{where}: fraction is {column.fraction:g}, expected above 0, at most 1")
    return column


def _row(value, where, preset, columns, datasets, faults):
    value = _fields(value, where, _ROW, ("name",), faults)
    if "name" in value:
        where = f"row {value['name']!r}"
    config = dict(value.get("config", {}))
    preset = value.get("preset", preset)
    _choice(preset, f"{where}: preset", PRESETS, faults)
    for name in config:
        if name not in _FIELDS:
            faults.append(f"{where}: config has {name!r}, which is no field of kmerl.Config")
    if "seed" in config:
        faults.append(f"{where}: config has 'seed', which the table's seeds give")
    if preset in PRESETS and _FIELDS.issuperset(config):
        try:
            Config(**{**PRESETS[preset], **config})
        except (ValueError, TypeError) as error:
            faults.append(f"{where}: config: {error}")
    labels = _fields(value.get("labels", {}), f"{where}: labels", LABELS, (), faults)
    if value.get("class_texts") is not None:
        _choice(value["class_texts"], f"{where}: class_texts", ("ckepe",), faults)
    if value.get("from_scratch") and labels:
        faults.append(f"{where}: from_scratch sees no reports, so labels change nothing")
    return Row(
        name=value.get("name", ""),
        preset=preset,
        config=config,
        labels=labels,
        encoder=value.get("encoder"),
        class_texts=value.get("class_texts"),
        from_scratch=value.get("from_scratch", False),
        quoted=value.get("quoted", False),
        needs=value.get("needs", ""),
        reading=value.get("reading", ""),
        paper=_paper(value.get("paper", {}), where, columns, datasets, faults),
    )


def _paper(value, where, columns, datasets, faults):
    """{column: {"each", "average", "sd"}} of a row's quoted figures."""
    found = {}
    for column, quoted in value.items():
        place = f"{where}: paper, {column!r}"
        if column not in columns:
            faults.append(f"{place}: no such column, there are {', '.join(map(repr, columns))}")
            continue
        quoted = quoted if isinstance(quoted, dict) else {"average": quoted}
        for key, figure in quoted.items():
            if key == "each" and isinstance(figure, list):
                if len(figure) != len(datasets) or not all(_is(x, float) for x in figure):
                    faults.append(f"{place}: each has {len(figure)} figures, expected a number for each of the "
                                  f"{len(datasets)} data sets")  # fmt: skip
            elif key not in ("each", "average", "sd"):
                faults.append(f"{place}: unknown field {key!r}, known are each, average, sd")
            elif not _is(figure, float) and (figure != FIGURE_ONLY or key == "sd"):
                faults.append(f"{place}: {key} is {figure!r}, expected a number or {FIGURE_ONLY!r}")
        found[column] = {key: quoted.get(key) for key in ("each", "average", "sd")}
    return found
