"""The sweep: looks at everything again, every so often, for what no notice told.

It bounds how long a change or a revocation can go unnoticed when everything faster has failed: the broker was away, a
row was changed by ``update()`` or raw SQL.
"""

from __future__ import annotations

import asyncio
from random import random
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from ..serializers.settings import setting
from .entries import SWEEP
from .logs import warn
from .metrics import count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from .subscriptions import Socket, Subscription

# How much is looked at together, at most.
CHUNK = 250


class Swept(Protocol):
    """What is swept: a hub."""

    @property
    def sockets(self) -> Collection[Socket]: ...

    swept: float  # when it was swept last from end to end, by ``monotonic``

    def subscriptions(self) -> Iterable[Subscription]: ...
    def look_again(self, subscriptions: Iterable[Subscription], cause: int) -> None: ...
    def examine(self, sockets: Iterable[Socket]) -> None: ...


async def keep_sweeping(hub: Swept) -> None:
    """Once in each ``SWEEP_PERIOD``, have all subscriptions of a hub evaluated and the credentials of all its sockets
    examined, no more than ``SWEEP_RATE`` of them in a second; until cancelled."""
    await asyncio.sleep(random() * setting("SWEEP_PERIOD"))  # noqa: S311  # not all processes at the same time
    while True:
        begun = asyncio.get_running_loop().time()
        await sweep(hub)
        count("sweeps")
        hub.swept = monotonic()
        left = begun + setting("SWEEP_PERIOD") - asyncio.get_running_loop().time()
        if left < 0:
            warn(
                "sweep_late", f"A sweep took {-left:.0f} s longer than SWEEP_PERIOD: there is too much for SWEEP_RATE."
            )
        await asyncio.sleep(max(left, 0))


async def sweep(hub: Swept) -> None:
    """Once through everything."""
    watched = list(hub.subscriptions())  # those to one object stand together, and are read together
    for start in range(0, len(watched), CHUNK):
        some = watched[start : start + CHUNK]
        hub.look_again(some, SWEEP)
        await rest_after(len(some))
    connected = list(hub.sockets)
    for start in range(0, len(connected), CHUNK):
        some_sockets = connected[start : start + CHUNK]
        hub.examine(some_sockets)
        await rest_after(len(some_sockets))


async def rest_after(number: int) -> None:
    await asyncio.sleep(number / setting("SWEEP_RATE"))
