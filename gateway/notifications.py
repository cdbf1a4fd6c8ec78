"""Notifications: the documented way to say that an instance changed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from channels.db import database_sync_to_async
from django.db import router, transaction
from django.db.models import Model

from ..serializers.hashids import encode
from .courier import courier
from .logs import report
from .notices import Notice
from .publications import relatives
from .trail import note_told, note_waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .notices import Kind


def notify(*instances: Model) -> None:
    """Say that these instances changed: their viewers get what they may see of them now.

    For changes that no save tells: ``queryset.update()``, a many-to-many relation, a related object, raw SQL. To be
    called anywhere, in a view, a task, a management command. Inside a transaction it waits for the commit, and
    is undone with it. It returns before anything is sent; what then can't be sent is kept, and sent when it can be.
    An instance of a model that is not published has no viewers, and nothing happens.

    Raises TypeError for what is no model instance, ValueError for an instance that was never saved.
    """
    by_database: dict[str, list[Model]] = {}
    for instance in instances:
        if not isinstance(instance, Model):
            raise TypeError(
                f"notify() takes model instances, not {type(instance).__name__}. For a queryset: notify(*queryset)."
            )
        if instance.pk is None:
            raise ValueError(f"notify() was given a {type(instance).__name__} that was never saved.")
        # It may have been read from a replica; the transaction that changes it is where it is written.
        by_database.setdefault(router.db_for_write(type(instance), instance=instance), []).append(instance)
    for using, changed in by_database.items():
        announce("update", changed, using=using)


async def anotify(*instances: Model) -> None:
    """``notify`` from async code."""
    await database_sync_to_async(notify)(*instances)


def flush() -> None:
    """Send the notices that wait in this process, and return when all are sent, or given up after ``SEND_TIMEOUT``.

    By itself this is done when Python ends. To be called at the end of a process that does not end so, because it was
    forked: RQ's, Celery's with a limit of tasks for each, those of ``multiprocessing``. Where a hub runs, its event
    loop sends, and there is nothing to do.
    """
    courier.close()


def announce(
    kind: Kind, instances: Sequence[Model], *, using: str | None = None, settle: Callable[[], None] | None = None
) -> None:
    """Post the notices of instances of one database when its transaction commits, if there is one; never raises.

    Every call registers with the transaction anew, also for an instance that is already registered: a savepoint
    may roll back the one and keep the other. ``using`` is the database that they were saved to if not told
    otherwise; ``settle`` is called after the commit.
    """
    try:
        notices = [notice for instance in instances for notice in notices_of(kind, instance)]
        post_after_commit(notices, using or instances[0]._state.db, settle)
    except Exception as error:
        labels = ", ".join(sorted({instance._meta.label for instance in instances}))
        report("notices_lost", f"No notice was given of a change of {labels}.", error)


def post_after_commit(notices: Sequence[Notice], using: str | None, settle: Callable[[], None] | None = None) -> None:
    transaction.on_commit(Teller(notices, using, settle).tell, using=using, robust=True)


class Teller:
    """Has to ``tell`` of what was changed in a transaction when that commits. It is gone when that was undone."""

    def __init__(self, notices: Sequence[Notice], using: str | None, settle: Callable[[], None] | None) -> None:
        self._notices = notices
        self._settle = settle
        self._steps = note_waiting(notices, self)
        self._others = _waiting.by_database.setdefault(using, WeakSet())
        self._others.add(self)

    def tell(self) -> None:
        """Post the notices; together with the others' of the same commit, where there are any."""
        self._others.discard(self)
        note_told(self._steps)
        if self._settle is not None:
            self._settle()
        if self._notices:
            courier.post(self._notices, more=bool(self._others))


class Waiting(threading.local):
    """The tellers that the open transactions of this thread will call, by the alias of their database."""

    def __init__(self) -> None:
        self.by_database: dict[str | None, WeakSet[Teller]] = {}


_waiting = Waiting()


def notices_of(kind: Kind, instance: Model) -> Iterator[Notice]:
    """One notice for each publication in which the instance is shown; one that has no hashid loses no other's."""
    for publication in relatives(type(instance)):
        try:
            yield Notice(kind, publication.label, encode(publication.model, key_in(publication.model, instance)))
        except Exception as error:
            report("notices_lost", f"No notice was given of a change of a {publication.label}.", error)


def key_in(model: type[Model], instance: Model) -> Any:
    """The instance's primary key as a row of this model: the parent's own, where that is a parent."""
    if isinstance(instance, model._meta.concrete_model or model):
        return getattr(instance, model._meta.pk.attname)
    return instance.pk
