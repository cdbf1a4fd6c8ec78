"""Another connection to the database, as another process has it."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

from django.db import OperationalError, connection, connections

if TYPE_CHECKING:
    from collections.abc import Callable


def elsewhere(work: Callable[[], object]) -> list[OperationalError]:
    """Do something on another connection, as another process would; what the database refuses is given back."""
    refused = []

    def run():
        try:
            if connection.vendor == "sqlite":  # there, nobody writes while a transaction is open: don't wait for it
                connection.cursor().execute("PRAGMA busy_timeout = 0")
            work()
        except OperationalError as error:
            refused.append(error)
        finally:
            connections.close_all()

    thread = Thread(target=run)
    thread.start()
    thread.join()
    return refused
