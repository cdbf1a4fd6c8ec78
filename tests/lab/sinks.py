"""Sinks that fail, or hang, when a test says so; and what is on record."""

from __future__ import annotations

import threading

from clients import PATIENCE

from livegate.gateway.hub import _hubs


class MemorySink:
    """Keeps what it is given in ``kept``; while it is ``away`` it raises, and while it is not ``open`` it hangs."""

    kept: list = []
    calls: list = []
    away = False
    open = threading.Event()

    def write(self, entries):
        type(self).calls.append(len(entries))
        assert self.open.wait(PATIENCE)
        if self.away:
            raise OSError("the secret")
        names = {(entry.process, entry.number) for entry in self.kept}
        self.kept.extend(entry for entry in entries if (entry.process, entry.number) not in names)


async def written():
    """What is on record, of a hub that goes on."""
    [hub] = _hubs.values()
    await hub._recorder.flush()
    return MemorySink.kept
