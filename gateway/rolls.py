"""Roll calls: how whoever keeps a register hears of hubs, and is asked who is there. The hub knows nothing of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from .subscriptions import Socket


class Present(Protocol):
    """What of a hub there is to be told: a hub."""

    @property
    def identity(self) -> str: ...
    @property
    def sockets(self) -> Collection[Socket]: ...


class Attendant(Protocol):
    """One for each hub, made when it starts."""

    async def keep_attending(self) -> None:
        """Until cancelled. Begun again, should it ever end by an error."""

    def call(self, token: str) -> None:
        """The hub heard a roll call of this name; returns at once, and raises nothing."""

    async def stop(self) -> None:
        """The hub stops, and attends no more."""


# What makes them.
attendants: list[Callable[[Present], Attendant]] = []
