"""valid_reduce.py -- makes an episode with a difference smaller, and keeps it in a file.

A reproducer is a JSON object: `batches` is what valid.py --replay plays, everything else is for the
reader.  Bytes are latin1 strings; the CAS number that unit 7 was shown for key a is [7, "a"].
"""
import json
import time


# ---- making it smaller ----------------------------------------------------------------------

def without_some(items, persists, deadline):
    """Fewer of items, tried in ever smaller parts, while persists(items) holds."""
    size = max(1, len(items) // 2)
    while items:
        at = 0
        while at < len(items) and time.monotonic() < deadline:
            fewer = items[:at] + items[at + size:]
            if persists(fewer):
                items = fewer
            else:
                at += size
        if size == 1 or time.monotonic() >= deadline:
            return items
        size //= 2
    return items


def reduce_batches(batches, find, seconds):
    """(the fewest batches found, their difference).  find(batches) is a Difference or None."""
    deadline = time.monotonic() + seconds
    best = [find(batches)]
    if best[0] is None:
        return batches, None

    def persists(fewer):
        difference = find(fewer)
        if difference is not None:
            best[0] = difference
        return difference is not None

    batches = without_some(batches, persists, deadline)
    # The last first: what does not matter is mostly at the front.
    for i in reversed(range(len(batches))):
        def with_units(units, at=i):
            return batches[:at] + [dict(batches[at], units=units)] + batches[at + 1:]

        units = without_some(batches[i]["units"], lambda u: persists(with_units(u)), deadline)
        batches = with_units(units)
    for i in range(len(batches)):
        for plain in ({"cuts": []}, {"quit": 0}, {"connection": batches[0]["connection"]}):
            simpler = batches[:i] + [dict(batches[i], **plain)] + batches[i + 1:]
            same_kind = "connection" not in plain or batches[i]["kind"] == batches[0]["kind"]
            if (simpler != batches and same_kind and time.monotonic() < deadline
                    and persists(simpler)):
                batches = simpler
    # Once more, so that what is told belongs to what is kept.
    return batches, find(batches) or best[0]


# ---- files ----------------------------------------------------------------------------------

def plain(thing):
    """For JSON."""
    if isinstance(thing, (bytes, bytearray)):
        return thing.decode("latin1")
    if isinstance(thing, (tuple, list)):
        return [plain(t) for t in thing]
    if isinstance(thing, dict):
        return {name: plain(value) for name, value in thing.items()}
    return thing


def as_unit(kept):
    pieces, codes, uid, key = kept
    if isinstance(pieces, str):
        pieces = pieces.encode("latin1")
    else:
        pieces = tuple(p.encode("latin1") if isinstance(p, str) else
                       (p[0], p[1].encode("latin1")) if isinstance(p, list) else p for p in pieces)
    return pieces, codes, uid, key.encode("latin1") if key is not None else None


def write(path, head, batches, difference=None):
    kept = dict(head)
    if difference is not None:
        kept["why"] = difference.why
        kept["where"] = plain(difference.unit) if difference.unit else None
        kept["oracle"] = plain(difference.theirs)
        kept["server"] = plain(difference.ours)
    kept["batches"] = plain(batches)
    path.write_text(json.dumps(kept, indent=1))


def read(path):
    """The batches of a reproducer."""
    batches = json.loads(path.read_text())["batches"]
    return [dict(b, units=[as_unit(u) for u in b["units"]]) for b in batches]
