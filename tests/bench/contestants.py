"""The contestants: what is compared, as a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contestant:
    """One way to push an object to its viewers.

    ``kind`` is what runs in the server, ``shows`` which serializer it runs (``rights.seen`` knows what that must
    give), ``payload`` the key under which its frames carry the payload. One that ``asks`` decides for each viewer
    anew, at a cost that makes some workloads endless: see ``workloads``.
    """

    name: str
    kind: str
    shows: str
    payload: str = "payload"
    asks: bool = False


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("floor", "floor", "open"),
        Contestant("classic", "classic", "open"),
        Contestant("naive", "naive", "personal", asks=True),
        Contestant("djangochannelsrestframework", "observer", "personal", payload="data", asks=True),
        Contestant("livegate-1", "livegate", "open"),
        Contestant("livegate-3", "livegate", "guarded"),
        Contestant("livegate-distinct", "livegate", "distinct"),
        Contestant("livegate-personal", "livegate", "personal"),
    )
}
# The environment variable that tells a process whose it is.
VARIABLE = "BENCH_CONTESTANT"
