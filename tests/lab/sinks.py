"""Sinks that fail, or hang, when a test says so."""

from __future__ import annotations

import threading

from clients import PATIENCE


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
