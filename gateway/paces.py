"""The pace: how often something is acted upon that may be told again and again."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from ..serializers.settings import setting

if TYPE_CHECKING:
    from collections.abc import Callable

# An interval that doubles does so up to so many NOTICE_INTERVALs.
LONGEST_INTERVAL = 4


class Pace:
    """Acts at once when it is told for the first time; what is told soon after that adds up to one more time, when an
    interval has passed. While it goes on, the interval doubles, up to ``longest`` NOTICE_INTERVALs; after one in which
    nothing was told it is the short one again."""

    __slots__ = ("_act", "_acted", "_interval", "_longest", "_timer")

    def __init__(self, act: Callable[[], None], longest: int = LONGEST_INTERVAL) -> None:
        self._act = act
        self._longest = longest
        self._acted = -inf  # when, in the loop's time
        self._interval = 0.0  # for how many seconds after that it only adds up
        self._timer: asyncio.TimerHandle | None = None

    def tell(self) -> None:
        """Act now, or together with what was told before."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            if self.is_over:
                self._go(0)
            else:
                self._timer = loop.call_at(self._acted + self._interval, self._go, 2 * self._interval)

    @property
    def is_over(self) -> bool:
        """Whether nothing was told for so long that the next time is like the first."""
        now = asyncio.get_running_loop().time()
        return self._timer is None and now >= self._acted + self._interval

    def cancel(self) -> None:
        """What was told and not acted upon is forgotten."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go(self, interval: float) -> None:
        shortest = setting("NOTICE_INTERVAL")
        self._interval = min(max(interval, shortest), self._longest * shortest)
        self._timer, self._acted = None, asyncio.get_running_loop().time()
        self._act()
