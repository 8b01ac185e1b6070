"""Says what is wrong with a history, in sentences; an empty list is what everybody wants."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from stations.history import History, Seen, Truth

__all__ = ["check"]

_MOST = 5  # examples of each fault that are told


def check(history: History, truth: Truth) -> list[str]:
    """Compare what clients did and saw with what the database holds."""
    return [
        *_writes(history, truth),
        *_sums(history, truth),
        *(fault for seen in history.seen for fault in _feed(seen, truth)),
        *(fault for seen in history.seen for fault in _copies(seen, truth)),
    ]


def _writes(history: History, truth: Truth) -> Iterator[str]:
    """Acknowledged: there, once. Refused: not there. Unknown: at most once."""
    times = collections.Counter(key for key in truth.commits.values() if key is not None)
    known = {tap.id for tap in history.taps}
    lost = [t.id for t in history.taps if t.outcome == "acknowledged" and not times[t.id]]
    twice = [t.id for t in history.taps if times[t.id] > 1]
    ghosts = [t.id for t in history.taps if t.outcome == "refused" and times[t.id]]
    foreign = [str(r) for r, key in truth.commits.items() if key is None or key not in known]
    yield from _told("acknowledged, and not in the database", lost)
    yield from _told("in the database more than once", twice)
    yield from _told("refused, and in the database", ghosts)
    yield from _told("commits that nobody asked for", foreign)
    wrong = []
    for tap in history.taps:
        there = truth.records.get(("setting", (tap.target,)))
        if tap.kind == "put" and tap.outcome == "acknowledged" and there != tap.value:
            wrong.append(f"{tap.target}: {there!r} and not {tap.value!r}")
    yield from _told("settings that are not what was acknowledged", wrong)


def _sums(history: History, truth: Truth) -> Iterator[str]:
    """A counter is its start and every delta that was committed, each once."""
    committed = {key for key in truth.commits.values() if key is not None}
    for name, start in truth.start.items():
        taps = [tap for tap in history.taps if tap.kind == "adjust" and tap.target == name]
        sure = sum(tap.value for tap in taps if tap.outcome == "acknowledged")
        perhaps = sum(t.value for t in taps if t.outcome == "unknown" and t.id in committed)
        if truth.counters[name] != start + sure + perhaps:
            yield (
                f"counter {name} is {truth.counters[name]:g}, not {start:g} + {sure:g} "
                f"(acknowledged) + {perhaps:g} (unknown, but committed)"
            )


def _feed(seen: Seen, truth: Truth) -> Iterator[str]:
    """Every commit, once, in the order of the revisions, up to the last."""
    disorder = [
        f"{after} after {before}"
        for before, after in zip(seen.revisions, seen.revisions[1:], strict=False)
        if after <= before
    ]
    yield from _told(f"{seen.client} was shown commits out of order", disorder)
    if seen.resets:
        yield f"{seen.client} was told {seen.resets} times to begin again, for no reason"
    missed = {revision for revision in truth.commits if revision > seen.start} - {*seen.revisions}
    yield from _told(f"{seen.client} was never shown commits", map(str, sorted(missed)))
    invented = {*seen.revisions} - truth.commits.keys()
    yield from _told(f"{seen.client} was shown commits that are none", map(str, sorted(invented)))


def _copies(seen: Seen, truth: Truth) -> Iterator[str]:
    """A local copy equals the database once all is quiet, and nothing is left to send."""
    if seen.pending:
        yield f"{seen.client} never got rid of {seen.pending} writes"
    if seen.reads is not None:
        if seen.reads != truth.reads:
            yield f"{seen.client} ended with other data than the database"
        return
    differing = [
        f"{kind}:{'/'.join(key)}"
        for kind, key in sorted({*seen.copy, *truth.records})
        if seen.copy.get((kind, key)) != truth.records.get((kind, key))
    ]
    yield from _told(f"{seen.client} ended with other data than the database in", differing)


def _told(what: str, examples: object) -> Iterator[str]:
    found = [*examples]  # type: ignore[misc]
    if found:
        more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
        yield f"{what}: {', '.join(found[:_MOST])}{more}"
