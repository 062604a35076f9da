"""The twelve leads by name. The table is the C core's (`csrc/data/leads.c`)."""

from kmerl import _kmerl

ORDERS = _kmerl.lead_orders()
"""Orders in circulation: "clinical" (aVR aVL aVF), "mimic" (aVR aVF aVL), "paper" (aVF aVR aVL)."""

LEADS = tuple(ORDERS["clinical"])
"""The names in canonical order; a lead's position here is its id, 0 to 11."""


def lead_ids(leads, argument="leads"):
    """Canonical ids of lead names.

    Parameters
    ----------
    leads : str or iterable of str
        Names in any order and case; one name may stand alone.
    argument : str
        What messages call them.

    Returns
    -------
    tuple of int
        In the order given.

    Raises
    ------
    TypeError
        Not text.
    ValueError
        No name, a name that is none of the twelve, or the same lead twice; the message names it.
    """
    if isinstance(leads, str):
        leads = [leads]
    if isinstance(leads, (set, frozenset, dict)):
        raise TypeError(f"{argument} must be lead names in an order, such as a list, got a {type(leads).__name__}")
    try:
        leads = list(leads)
    except TypeError:
        raise TypeError(f"{argument} must be lead names such as ['I', 'II'], got {leads!r:.80}") from None
    if not leads:
        raise ValueError(f"{argument} is empty; expected 1 to 12 names of {' '.join(LEADS)}")
    ids = []
    for position, name in enumerate(leads):
        if not isinstance(name, str):
            raise TypeError(
                f"{argument}[{position}] must be a lead's name, got {name!r:.80}; known: {' '.join(LEADS)}"
            )
        if not name.strip():
            raise ValueError(f"{argument}[{position}] has no name; known: {' '.join(LEADS)}")
        lead = _kmerl.lead_find(name)
        if lead < 0:
            raise ValueError(
                f"{argument}[{position}] is the unknown lead {name!r:.80}; known: {' '.join(LEADS)}"
            )
        if lead in ids:
            raise ValueError(
                f"{argument} names lead {LEADS[lead]} twice, at positions {ids.index(lead)} and {position}"
            )
        ids.append(lead)
    return tuple(ids)
