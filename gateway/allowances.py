"""The allowance: how much a client may send."""

from __future__ import annotations

from time import monotonic

from ..serializers.settings import setting


class Allowance:
    """So many messages in a row (``MESSAGE_BURST``), and in the long run so many a second (``MESSAGE_RATE``): a token
    bucket."""

    __slots__ = ("_left", "_looked")

    def __init__(self) -> None:
        self._left = float(setting("MESSAGE_BURST"))
        self._looked = monotonic()

    def take(self) -> bool:
        """Whether one more message is within it."""
        now = monotonic()
        self._left = min(self._left + (now - self._looked) * setting("MESSAGE_RATE"), setting("MESSAGE_BURST"))
        self._looked = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
