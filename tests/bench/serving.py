"""Serving: sockets are opened on the first card, and all of them are served a change of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .arena import Arena

AT_ONCE = 250  # sockets that are connected at once, where connecting is not what is measured
SETTLE = 0.3  # seconds for the broker to carry out what the layer has sent it before a message is worth sending
LINGER = 0.05  # seconds to wait for messages that should not come
EVENT_PATIENCE = 120  # seconds within which everybody must have been served


def gather_viewers(arena: Arena, viewers: range) -> None:
    """Connect viewers and subscribe them to the first card, some at a time."""
    for start in range(viewers.start, viewers.stop, AT_ONCE):
        chunk = viewers[start - viewers.start :][:AT_ONCE]
        arena.open(chunk, [0] * len(chunk))
    time.sleep(SETTLE)


def serve_all(arena: Arena) -> dict[str, float]:
    """Save the first card, and wait until all its viewers have received that version, each theirs and only that."""
    arena.clients.start("gather", patience=EVENT_PATIENCE, per_client=1)
    saved = arena.writer.do("save", card=0)
    gathered = arena.clients.finish()
    arena.checked(arena.clients.do("verify", linger=LINGER, versions={"0": [saved["version"]]}))
    latency = gathered["last"] - saved["committed"]
    return {"latency": latency, "busy": gathered["busy"] / latency}
