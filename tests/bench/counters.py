"""Counters in a server process: queries, serializations, evaluations; CPU time, memory and what is kept."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path
from typing import Any

from django.db.backends.signals import connection_created
from rest_framework.serializers import Serializer

from livegate.gateway import evaluator, hub
from livegate.gateway.metrics import counts

REPRESENT = Serializer.to_representation
PAGE = os.sysconf("SC_PAGE_SIZE")


class Counters:
    """What happened in this process since its start."""

    def __init__(self) -> None:
        self.queries = 0
        self.evaluations = 0
        self.serializations = 0

    def install(self) -> None:
        """Count queries on every connection from now on, and evaluations."""
        connection_created.connect(self.watch_connection, weak=False)
        evaluate = evaluator.evaluate

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.evaluations += 1
            return evaluate(*args, **kwargs)

        evaluator.evaluate = counted

    def watch_connection(self, connection: Any, **kwargs: Any) -> None:
        if self.count_query not in connection.execute_wrappers:
            connection.execute_wrappers.append(self.count_query)

    def count_query(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        self.queries += 1
        return execute(sql, params, many, context)

    def count_serializations(self, wanted: bool) -> None:
        """Count what DRF's root serializers represent from now on, or no longer. For events that are not timed."""

        def counted(serializer: Any, instance: Any) -> Any:
            if serializer.parent is None:
                self.serializations += 1
            return REPRESENT(serializer, instance)

        Serializer.to_representation = counted if wanted else REPRESENT

    def read(self) -> dict[str, float]:
        """The counts; CPU time of all threads in seconds; resident memory in bytes."""
        return {
            "queries": self.queries,
            "evaluations": self.evaluations,
            "serializations": self.serializations,
            "cpu": time.process_time(),
            "sweeps": counts()["sweeps"],
            "memory": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE,
        }

    def tables(self) -> dict[str, int]:
        """What livegate's hub keeps just now, how many tasks the event loop has, and how many files are open."""
        hubs = hub._hubs.values()
        return {
            "sockets": sum(len(one.sockets) for one in hubs),
            "subscriptions": sum(1 for one in hubs for _ in one.subscriptions()),
            "tasks": len(asyncio.all_tasks()),
            "files": len(os.listdir("/proc/self/fd")),
        }

    def objects(self) -> dict[str, int]:
        """How many objects there are which hold others, as far as Python's collector knows, once it has collected."""
        gc.collect()
        return {"objects": len(gc.get_objects())}
