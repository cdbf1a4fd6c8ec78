"""Another connection to the database, as another process has it."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

from django.db import OperationalError, connection, connections

if TYPE_CHECKING:
    from collections.abc import Callable


def elsewhere(work: Callable[[], object], patience: int = 0) -> list[OperationalError]:
    """Do something on another connection, as another process would; what the database refuses is given back.

    On SQLite nobody writes while somebody else does: for ``patience`` seconds it waits for that, by default not at all,
    for it may be this thread's own transaction that is open.
    """
    refused = []

    def run():
        try:
            if connection.vendor == "sqlite":
                connection.cursor().execute(f"PRAGMA busy_timeout = {1_000 * patience}")
            work()
        except OperationalError as error:
            refused.append(error)
        finally:
            connections.close_all()

    thread = Thread(target=run)
    thread.start()
    thread.join()
    return refused
