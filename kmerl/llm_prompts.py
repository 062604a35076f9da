"""The questions that a language model is asked, and what counts as an answer.

The questions are files in kmerl/data/prompts that a user can replace; their answers are JSON of a fixed
shape. Everything else is no answer: a ValueError that says what is wrong with it, without any text of it."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Prompts", "STAGES"]

FOLDER = Path(__file__).parent / "data" / "prompts"
# stage: what its prompt must contain, what it may contain
STAGES = {
    "extract": (("text",), ()),
    "verify": (("text", "entity"), ()),
    "merge": (("names",), ("known",)),
    "superclasses": (("names",), ("known",)),
    "assign": (("name", "entities"), ()),
}
LONGEST_NAME = 120  # characters; what is longer is no name


def _object(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(of):
    return {"type": "array", "items": of}


_TEXT = {"type": "string"}
SCHEMAS = {
    "extract": _object(entities=_list(_TEXT)),
    "verify": _object(answer={"type": "string", "enum": ["YES", "POSSIBLE", "NO"]}),
    "merge": _object(merged=_list(_object(**{"name": _TEXT, "as": _TEXT}))),
    "superclasses": _object(superclasses=_list(_object(name=_TEXT, members=_list(_TEXT)))),
    "assign": _object(entity=_TEXT),
}


@dataclasses.dataclass(frozen=True)
class Prompts:
    """The text of each stage's prompt, by stage; made by `load`."""

    texts: Mapping[str, str]

    @classmethod
    def load(cls, prompts=None):
        """Reads the prompts.

        Parameters
        ----------
        prompts : path-like or mapping, optional
            A folder with some of extract.txt, verify.txt, merge.txt, superclasses.txt, assign.txt, or a
            mapping {stage: file}, where a file is a path or the name of one of kmerl's own ("extract-short").
            The stages that are not there keep kmerl's prompts.

        Raises
        ------
        FileNotFoundError
            A file, the folder, or every known file in it, is missing.
        ValueError
            A stage is unknown; a file is empty, not UTF-8, or lacks a placeholder such as {text}.
        """
        files = {stage: FOLDER / f"{stage}.txt" for stage in STAGES}
        if isinstance(prompts, Mapping):
            for stage, file in prompts.items():
                if stage not in STAGES:
                    raise ValueError(f"prompts has the stage {stage!r}, known are {', '.join(STAGES)}")
                shipped = FOLDER / f"{file}.txt"
                own = isinstance(file, str) and re.fullmatch(r"[a-z-]+", file) and shipped.is_file()
                files[stage] = shipped if own else Path(file)
        elif prompts is not None:
            folder = Path(os.fspath(prompts))
            if not folder.is_dir():
                raise FileNotFoundError(f"prompts folder {os.fspath(prompts)} does not exist")
            found = {stage: folder / f"{stage}.txt" for stage in STAGES if (folder / f"{stage}.txt").exists()}
            if not found:
                names = ", ".join(f"{stage}.txt" for stage in STAGES)
                raise FileNotFoundError(f"prompts folder {os.fspath(prompts)} has none of {names}")
            files.update(found)
        return cls({stage: cls._read(stage, file) for stage, file in files.items()})

    @staticmethod
    def _read(stage, file):
        try:
            text = file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").strip()
        except UnicodeDecodeError:
            raise ValueError(f"prompt {file} is not UTF-8 text") from None
        needed, _ = STAGES[stage]
        missing = [f"{{{name}}}" for name in needed if f"{{{name}}}" not in text]
        if missing:
            raise ValueError(
                f"prompt {file} has no {' and no '.join(missing)}, where the {stage} stage puts it"
            )
        return text

    def fill(self, stage, **values):
        """The stage's prompt with its placeholders filled in, all at once."""
        allowed = "|".join(name for names in STAGES[stage] for name in names)
        return re.sub(rf"\{{({allowed})\}}", lambda m: values[m[1]], self.texts[stage])


# ---- answers ---------------------------------------------------------------------------------------------


def read_answer(stage, content):
    """The content of an answer as Python values.

    Returns
    -------
    extract: list of str; verify: "YES", "POSSIBLE" or "NO"; merge: {name: merged name};
    superclasses: {superclass: list of members}; assign: str

    Raises
    ------
    ValueError
        It is no JSON, or JSON of another shape. The message holds nothing of the answer.
    """
    content = re.sub(r"^\s*<think>.*?</think>", "", content, flags=re.S).strip()
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*)\n\s*```", content, re.S)
    content = fenced[1].strip() if fenced else content
    if stage == "verify" and content.strip(".!\"'").upper() in ("YES", "POSSIBLE", "NO"):
        return content.strip(".!\"'").upper()
    try:
        value = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    return _READERS[stage](value)


def _no_number(name):
    raise ValueError(f"{name} is no JSON")


def _only(value, key):
    if not isinstance(value, dict) or set(value) != {key}:
        raise ValueError(f'not an object with the one key "{key}"')
    return value[key]


def _names(value, what):
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{what} is not a list of texts")
    return value


def _name(value, what):
    if not isinstance(value, str) or not any(c.isalnum() for c in value):
        raise ValueError(f"{what} is no name")
    name = " ".join(value.split())
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"{what} is longer than {LONGEST_NAME} characters or not printable")
    return name


def _entities(value):
    return _names(value if isinstance(value, list) else _only(value, "entities"), '"entities"')


def _verdict(value):
    verdict = _only(value, "answer")
    if verdict not in ("YES", "POSSIBLE", "NO"):
        raise ValueError('"answer" is not YES, POSSIBLE or NO')
    return verdict


def _merged(value):
    if isinstance(value, dict) and set(value) != {"merged"}:  # the paper's shape: {name: merged name}
        pairs = list(value.items())
    else:
        pairs = []
        items = _only(value, "merged")
        if not isinstance(items, list):
            raise ValueError('"merged" is not a list')
        for item in items:
            if not isinstance(item, dict) or set(item) != {"name", "as"} or not isinstance(item["name"], str):
                raise ValueError('an item of "merged" has not the keys "name" and "as"')
            pairs.append((item["name"], item["as"]))
    return {name: _name(merged, 'a name in "merged"') for name, merged in pairs}


def _superclasses(value):
    if isinstance(value, dict) and set(value) != {"superclasses"}:  # {superclass: [members]}
        groups = list(value.items())
    else:
        groups = []
        items = _only(value, "superclasses")
        if not isinstance(items, list):
            raise ValueError('"superclasses" is not a list')
        for item in items:
            if not isinstance(item, dict) or set(item) != {"name", "members"}:
                raise ValueError('an item of "superclasses" has not the keys "name" and "members"')
            groups.append((item["name"], item["members"]))
    result = {}
    for name, members in groups:
        result.setdefault(_name(name, "a superclass"), []).extend(_names(members, '"members"'))
    return result


def _assignment(value):
    entity = _only(value, "entity")
    if not isinstance(entity, str):
        raise ValueError('"entity" is no text')
    return entity


_READERS = {
    "extract": _entities,
    "verify": _verdict,
    "merge": _merged,
    "superclasses": _superclasses,
    "assign": _assignment,
}
