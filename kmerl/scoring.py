"""Reading a data set's recordings once and asking for numbers of each, whatever leads there are; what cannot be
scored is kept with its reason.
"""

import numpy as np

from kmerl.leads import LEADS, ORDERS, lead_ids

__all__ = ["PAPER_ORDER", "answers", "chosen_leads", "name_of", "score", "whole"]

# Fig. 6 of the paper adds leads in this order.
PAPER_ORDER = tuple(ORDERS["paper"])

PATIENCE = 16  # a model that refuses so many recordings and takes none is asked no more


def score(ask, width, dataset, lead_sets, indices, *, batch_size=64, progress=True):
    """Numbers for each recording with each set of leads.

    Parameters
    ----------
    ask : callable
        ``ask(records) -> (n, width)``: finite numbers for a list of Records, or a ValueError.
    width : int
        How many numbers a recording gets.
    dataset : kmerl.datasets.Dataset
    lead_sets : sequence of sequence of str
        A recording is given with those of the leads that it has.
    indices : array_like of int, (n,)
        Recordings of the data set.
    batch_size : int
        Recordings read and asked at a time. Changes no number.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of (numbers, reasons, fewer)
        One for each set of leads: ndarray of float32 (n, width), NaN where there is none; for each recording why it
        has none, or None; how many recordings lack some of the leads.
    """
    from kmerl.progress import Progress

    shape = (len(lead_sets), len(indices), width)
    numbers = np.full(shape, np.nan, np.float32)
    reasons = [[None] * len(indices) for _ in lead_sets]
    fewer = [0] * len(lead_sets)
    refused = 0
    with Progress(len(indices) * len(lead_sets), dataset.name, "recordings", show=progress) as bar:
        for begin in range(0, len(indices), batch_size):
            places = range(begin, min(begin + batch_size, len(indices)))
            records = {}
            for place in places:
                try:
                    records[place] = dataset[indices[place]]
                except (ValueError, OSError) as error:
                    for reason in reasons:
                        reason[place] = str(error)
            for s, leads in enumerate(lead_sets):
                given = {}
                for place, record in records.items():
                    cut = _cut(record, leads)
                    if cut is None:
                        reasons[s][place] = f"has none of the leads {' '.join(leads)}"
                    else:
                        given[place] = cut
                        fewer[s] += len(cut.leads) < len(leads)
                for place, answer in answers(ask, given, width).items():
                    if isinstance(answer, Exception):
                        reasons[s][place] = str(answer)
                        refused += 1
                        if refused == PATIENCE and np.isnan(numbers).all():
                            raise answer  # not the recordings' fault
                    else:
                        numbers[s, place] = answer
                bar.update(len(places))
    return list(zip(numbers, reasons, fewer, strict=True))


def answers(ask, records, width):
    """Numbers for each recording, or why it has none: one that cannot be scored does not spoil its batch.

    Parameters
    ----------
    ask, width
        As in `score`.
    records : dict
        ``{key: Record}``.

    Returns
    -------
    dict
        ``{key: ndarray (width,) or ValueError}``.
    """
    if not records:
        return {}
    try:
        numbers = np.asarray(ask(list(records.values())))
        if numbers.shape != (len(records), width):
            raise TypeError(f"the model returned shape {numbers.shape}, expected ({len(records)}, {width})")
        if not np.isfinite(numbers).all():
            raise ValueError("the model returned NaN or infinite numbers")
        return dict(zip(records, numbers, strict=True))
    except ValueError as error:
        if len(records) == 1:
            return dict.fromkeys(records, error)
    found = {}
    for key, record in records.items():
        found.update(answers(ask, {key: record}, width))
    return found


def _cut(record, leads):
    """The record with only these leads, in this order; None where it has none of them."""
    present = [lead for lead in leads if lead in record.leads]
    return record.select(present) if present else None


def chosen_leads(leads):
    """Names of leads: the first so many of the paper's order, or those named, checked."""
    if isinstance(leads, (int, np.integer)) and not isinstance(leads, bool):
        if not 1 <= leads <= len(PAPER_ORDER):
            raise ValueError(
                f"leads is {leads}, expected a number from 1 to {len(PAPER_ORDER)} or lead names"
            )
        return PAPER_ORDER[:leads]
    return tuple(LEADS[i] for i in lead_ids(leads))


def name_of(dataset, index):
    """The recording's file name."""
    return str(dataset.paths[index]).replace("\\", "/").rsplit("/", 1)[-1]


def whole(value, name):
    """A whole number above 0, checked."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}, expected a whole number above 0")
    return int(value)
