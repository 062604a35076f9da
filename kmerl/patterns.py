"""What vocabulary and phrases have in common: files whose faults are all named, and patterns that stand for phrases."""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

MAX_EXPANSIONS = 20000
MAX_DEPTH = 20  # brackets and word lists within one another


class VocabularyError(ValueError):
    """A file of a vocabulary or of phrases with faults; `faults` lists all of them, each with its place."""

    def __init__(self, source: str, faults: Iterable[str], what: str = "vocabulary"):
        self.faults = list(faults)
        shown = self.faults[:20]
        more = [] if len(self.faults) <= 20 else [f"and {len(self.faults) - 20} more"]
        count = f"{len(self.faults)} fault{'s' if len(self.faults) != 1 else ''}"
        super().__init__(f"{source}: {count} in the {what}:\n  " + "\n  ".join(shown + more))


# ---- reading a file ---------------------------------------------------------------------------------


def kind_of(value: object) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return kinds.get(type(value), type(value).__name__)


def texts_fault(items: object) -> str | None:
    """What is wrong with what should be a list of texts; None where nothing is."""
    if not isinstance(items, list) or not all(isinstance(item, str) and item.strip() for item in items):
        return "must be a list of texts"
    return next((f"has a lone surrogate: {item!a}" for item in items if has_surrogate(item)), None)


def has_surrogate(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)


def read_text(path: str | os.PathLike, what: str) -> str:
    """The text of a file; a VocabularyError where it is not UTF-8."""
    data = Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise VocabularyError(str(path), [f"line {line}: not UTF-8 text"], what) from None


def repeated(pairs: Iterable) -> list[str]:
    """The keys of an object that stand more than once."""
    return sorted(key for key, count in collections.Counter(key for key, _ in pairs).items() if count > 1)


def read_object(text: str, source: str, faults: list[str], what: str) -> dict:
    """The one JSON object in a text; keys that stand twice go into `faults`, anything else is raised."""

    def pairs(items):
        for key in repeated(items):
            faults.append(f'key "{key}" stands twice in one object')
        return dict(items)

    try:
        data = json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        fault = f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        raise VocabularyError(source, [fault], what) from None
    except RecursionError:
        raise VocabularyError(source, [f"not {what}: nested too deeply"], what) from None
    if not isinstance(data, dict):
        raise VocabularyError(source, [f"the file must hold one object, holds {kind_of(data)}"], what)
    return data


# ---- patterns -----------------------------------------------------------------------------------------


def expand(pattern: str, words: Mapping[str, Iterable[str]], inline: bool = False) -> list[str]:
    """All phrases a pattern stands for; word lists stay as ``{list}`` unless `inline`.

    Parameters
    ----------
    pattern : str
        Words between blanks; ``a|b`` one of them; ``[a b]`` or nothing; ``a~b`` joined, hyphenated or
        apart; ``{list}`` a word list; ``<a>`` must be there but is not part of the finding; ``=a`` this
        form only; ``+`` filler words; ``^`` and ``$`` start and end of a sentence.
    words : mapping
        Word lists.

    Raises
    ------
    ValueError
        The pattern cannot be read, or stands for too many phrases.
    """
    return list(dict.fromkeys(" ".join(phrase) for phrase in _Pattern(pattern, words, inline).read()))


class _Pattern:
    """Recursive descent over one pattern; every part is a list of phrases, a phrase a tuple of words."""

    def __init__(
        self,
        pattern: str,
        words: Mapping[str, Iterable[str]],
        inline: bool = False,
        open_lists: tuple[str, ...] = (),
    ):
        self.text, self.words, self.at = pattern, words, 0
        self.inline, self.open_lists, self.depth = inline, open_lists, 0

    def read(self) -> list[tuple[str, ...]]:
        phrases = self.sequence("")
        if self.at < len(self.text):
            raise ValueError(f"'{self.text[self.at]}' without its opening bracket")
        phrases = [phrase for phrase in phrases if phrase]
        if not phrases:
            raise ValueError("stands for nothing")
        return phrases

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def sequence(self, closing: str) -> list[tuple[str, ...]]:
        phrases: list[tuple[str, ...]] = [()]
        while True:
            while self.peek() == " ":
                self.at += 1
            if self.peek() in ("", "]", ">"):
                break
            unit = self.alternatives()
            if len(phrases) * len(unit) > MAX_EXPANSIONS:
                raise ValueError(f"stands for more than {MAX_EXPANSIONS} phrases")
            phrases = [a + b for a in phrases for b in unit]
        if closing and self.peek() != closing:
            raise ValueError(f"'{closing}' is missing")
        return phrases

    def alternatives(self) -> list[tuple[str, ...]]:
        result = self.joined()
        while self.peek() == "|":
            self.at += 1
            result = self.bounded(result + self.joined())
        return result

    @staticmethod
    def bounded(phrases: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        if len(phrases) > MAX_EXPANSIONS:
            raise ValueError(f"stands for more than {MAX_EXPANSIONS} phrases")
        return phrases

    def joined(self) -> list[tuple[str, ...]]:
        start = self.at
        left = self.atom(self.inline)
        if self.peek() == "~" and self.text[start] == "{":  # a list must be spelled out to be joined with its neighbour
            self.at = start
            left = self.atom(True)
        while self.peek() == "~":
            self.at += 1
            right = self.atom(True)
            if len(left) * len(right) > MAX_EXPANSIONS:
                raise ValueError(f"stands for more than {MAX_EXPANSIONS} phrases")
            apart = [a + b for a in left for b in right]
            together = [
                a[:-1] + (a[-1] + b[0],) + b[1:]
                for a in left
                for b in right
                if a and b and a[-1][-1:].isalnum() and b[0][:1].isalnum()
            ]
            left = self.bounded(apart + together)
        return left

    def atom(self, inline: bool) -> list[tuple[str, ...]]:
        c = self.peek()
        if c and c in "[<":
            if self.depth == MAX_DEPTH:
                raise ValueError(f"more than {MAX_DEPTH} brackets within one another")
            self.at += 1
            self.depth += 1
            inside = self.sequence("]" if c == "[" else ">")
            self.depth -= 1
            self.at += 1
            if c == "[":
                return inside + [()]
            return [tuple(word if word in "+^$" else f"<{word}>" for word in phrase) for phrase in inside]
        if c == "{":
            end = self.text.find("}", self.at)
            if end < 0:
                raise ValueError("'}' is missing")
            name = self.text[self.at + 1 : end]
            self.at = end + 1
            if name not in self.words:
                raise ValueError(f"there is no word list {{{name}}}")
            if not inline:
                return [(f"{{{name}}}",)]
            if name in self.open_lists:
                raise ValueError(f"word list {{{name}}} contains itself")
            result: list[tuple[str, ...]] = []
            if len(self.open_lists) == MAX_DEPTH:
                raise ValueError(f"more than {MAX_DEPTH} word lists within one another")
            for item in self.words[name]:
                result = self.bounded(result + _Pattern(item, self.words, True, (*self.open_lists, name)).read())
            return list(dict.fromkeys(result))
        start = self.at
        while self.peek() not in ("", " ", "|", "~", "[", "]", "<", ">", "{", "}"):
            self.at += 1
        if self.at == start:
            raise ValueError(f"a word was expected at '{self.text[start : start + 10]}'")
        return [(self.text[start : self.at],)]
