"""The primary: the database that is written to, and so the only one of which it is known what was written last.

A notice comes milliseconds after the commit. A replica from which a router has everything read may not have got so far:
it has content of before, and rights of before, which may just have been taken away.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from django.db import router

from ..serializers.settings import setting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model

# A context variable: asgiref takes it along to other threads, where code of the application's may be run.
_reads_primary: ContextVar[bool] = ContextVar("livegate.reads_primary", default=False)


@contextmanager
def from_primary() -> Iterator[None]:
    """Within it, everything is read from where it would be written, whatever the routers say, and whoever reads: also
    code of the application's. A queryset that names its database (``using``) is read there; and where ``READ_PRIMARY``
    is off, the routers are asked as ever.
    """
    _stand_first()
    outside = _reads_primary.set(setting("READ_PRIMARY"))
    try:
        yield
    finally:
        _reads_primary.reset(outside)


class PrimaryRouter:
    """Within ``from_primary``, a database router that gives for a read what the others say for a write; elsewhere it
    says nothing."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return router.db_for_write(model, **hints) if _reads_primary.get() else None


_primary_router = PrimaryRouter()


def _stand_first() -> None:
    """Have our router asked before all others. Looked at each time, for routers are exchanged in tests; where there is
    none, what is read is read from where it is written anyway."""
    routers = router.routers
    if routers and routers[0] is not _primary_router:
        # Another list, not the same one with one more: other threads go through it just now.
        router.routers = [_primary_router, *(one for one in routers if one is not _primary_router)]
