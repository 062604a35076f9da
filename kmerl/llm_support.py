"""Does a text hold what a language model says to have found in it, and does it assert it?"""

import re

from .extraction import STATUSES, lexicon
from .vocabulary import Entity, Vocabulary, normalise

__all__ = ["statuses", "surface", "support"]

GAP = 4  # words that may stand between those of a finding: "st and t wave abnormality"
_WORD = re.compile(r"[^\W_]+")
_STOP = re.compile(r"[.;!?\n]")


def surface(name):
    """A finding's name as it is compared: lower case, single blanks, no signs around it; "" where it is
    none."""
    name = normalise(name)
    while name and not name[0].isalnum():
        name = name[1:]
    while name and not name[-1].isalnum():
        name = name[:-1]
    return name if sum(c.isalnum() for c in name) > 1 else ""


def support(text, name):
    """Where the words of a name stand in a text.

    Returns
    -------
    list of (int, int)
        Characters from its first to its last word: all places where the words follow one another; else the
        shortest one where they stand in this order within one sentence, with at most four others between
        them; else none.
    """
    wanted = [word.casefold() for word in _WORD.findall(name)]
    words = [(m.group().casefold(), m.start(), m.end()) for m in _WORD.finditer(text)]
    count = len(wanted)
    if not count:
        return []
    found = [word for word, _, _ in words]
    places = [
        (words[i][1], words[i + count - 1][2])
        for i in range(len(words) - count + 1)
        if found[i] == wanted[0] and found[i : i + count] == wanted
    ]
    return places or _apart(text, words, wanted)


def _apart(text, words, wanted):
    best = None
    for first, (word, start, _) in enumerate(words):
        if word != wanted[0]:
            continue
        at = first
        for next_word in wanted[1:]:
            last = first + len(wanted) + GAP
            at = next((i for i in range(at + 1, min(last, len(words))) if words[i][0] == next_word), None)
            if at is None:
                break
        else:
            end = words[at][2]
            if not _STOP.search(text, start, end) and (best is None or end - start < best[1] - best[0]):
                best = (start, end)
    return [best] if best else []


def statuses(mentions):
    """What a text does with what it mentions, by the core's scopes of negation and hedge.

    kmerl's own vocabulary decides where it has a finding in the same place or around it: it knows that
    "possible recent" doubts an infarct, while "possibly recent" behind it does not. Elsewhere the names
    themselves are searched for.

    Parameters
    ----------
    mentions : dict
        {text: [(surface name, [(start, end), ...]), ...]}

    Returns
    -------
    dict
        {text: [(surface name, (start, end), status), ...]}; status is "asserted", "negated", "hedged", or
        "remark" where the place belongs to a technical remark or a comparison.
    """
    names = sorted({name for found in mentions.values() for name, _ in found})
    if not names:
        return {text: [] for text in mentions}
    texts = list(mentions)
    read = _read(texts, Vocabulary([Entity(name) for name in names]))
    known = _read(texts, Vocabulary.default())
    result, unplaced = {}, []
    for text, findings, others in zip(texts, read, known, strict=True):
        result[text] = []
        for name, places in mentions[text]:
            for place in places:
                status = _status(findings, name, place)
                found = {f[3] for f in others if (f[1], f[2]) == place}
                found = found or {f[3] for f in others if f[1] <= place[0] and place[1] <= f[2]}
                if len(found) == 1:
                    status = found.pop()
                if status is None:
                    unplaced.append((text, len(result[text])))
                result[text].append((name, place, status))
    # What the matcher does not see as one piece (words apart) has the status of its last word.
    last = {name: _WORD.findall(name)[-1].casefold() for name in names}
    words = sorted({last[result[text][i][0]] for text, i in unplaced})
    again = dict.fromkeys(text for text, _ in unplaced)
    if words:
        again = dict(zip(again, _read(list(again), Vocabulary([Entity(w) for w in words])), strict=True))
    for text, i in unplaced:
        name, (start, end), _ = result[text][i]
        status = _status(again[text], last[name], (end - 1, end)) if end - start > len(name) else None
        result[text][i] = (name, (start, end), status or "remark")
    return result


def _read(texts, vocabulary):
    """For each text the (entity, start, end, status) that the core finds."""
    findings, _ = lexicon(vocabulary).read(texts)
    names = list(vocabulary)
    result = [[] for _ in texts]
    for text, start, end, entity, status in findings.tolist():
        result[text].append((names[entity], start, end, STATUSES[status]))
    return result


def _status(findings, name, place):
    """The status of a name's own finding at a place, else of what is found there."""
    start, end = place
    here = [f for f in findings if f[1] < end and start < f[2]]
    own = [f for f in here if f[0] == name] or [f for f in here if f[1] <= start and end <= f[2]]
    return own[0][3] if own else None
