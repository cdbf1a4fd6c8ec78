"""Notifications: the documented way to say that an instance changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models import Model

from ..serializers.hashids import encode
from .courier import courier
from .logs import report
from .notices import Notice
from .publications import relatives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .notices import Kind


def notify(*instances: Model) -> None:
    """Say that these instances changed: their viewers get what they may see of them now.

    For changes that no save tells: ``queryset.update()``, a many-to-many relation, a related object, raw SQL. To be
    called anywhere, in a view, a task, a management command. Inside a transaction it waits for the commit, and
    is undone with it. It returns before anything is sent; what then can't be sent is logged as ``notices_unsent``.
    An instance of a model that is not published has no viewers, and nothing happens.

    Raises TypeError for what is no model instance, ValueError for an instance that was never saved.
    """
    for instance in instances:
        if not isinstance(instance, Model):
            raise TypeError(
                f"notify() takes model instances, not {type(instance).__name__}. For a queryset: notify(*queryset)."
            )
        if instance.pk is None:
            raise ValueError(f"notify() was given a {type(instance).__name__} that was never saved.")
    announce("update", instances)


async def anotify(*instances: Model) -> None:
    """``notify`` from async code."""
    await database_sync_to_async(notify)(*instances)


def announce(kind: Kind, instances: Iterable[Model], on_commit: Callable[[], Any] | None = None) -> None:
    """Post the notices of these instances when the transaction commits, if any; never raises.

    Every call registers with the transaction anew, also for an instance that is already registered: a savepoint
    may roll back the one and keep the other. Notices of one commit are put together where they are sent.
    """
    by_database: dict[str, list[Model]] = {}
    for instance in instances:
        by_database.setdefault(instance._state.db or DEFAULT_DB_ALIAS, []).append(instance)
    for using, changed in by_database.items():
        try:
            notices = [notice for instance in changed for notice in notices_of(kind, instance)]

            def post(notices: list[Notice] = notices) -> None:
                if on_commit is not None:
                    on_commit()
                if notices:
                    courier.post(notices)

            transaction.on_commit(post, using=using, robust=True)
        except Exception as error:
            labels = ", ".join(sorted({instance._meta.label for instance in changed}))
            report("notices_unsent", f"No notice was given of a change of {labels}.", error)


def notices_of(kind: Kind, instance: Model) -> list[Notice]:
    """One notice for each publication in which the instance is shown."""
    return [
        Notice(kind, publication.label, encode(publication.model, instance.pk))
        for publication in relatives(type(instance))
    ]
