"""Solitude: one decision as a GET makes it, for one viewer; nothing is read together, nothing shared."""

from __future__ import annotations

import sqlite3
from contextvars import copy_context
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError, router

from ..permissions.viewers import refresh
from ..serializers.encoding import etag
from ..serializers.hashids import InvalidHashid, decode
from ..serializers.representation import represent
from .decisions import View
from .logs import deny
from .primary import from_primary
from .snapshots import snapshot

if TYPE_CHECKING:
    from django.db.models import Model

    from ..permissions.viewers import Viewer
    from .decisions import Decision, Pair


class Failed(Exception):
    """The application's code failed; its error is the cause."""


class Unsettled(Exception):
    """It is to be asked again: the database could not answer, or changed while it was looked at and does not hold
    still."""


def decide_alone(pair: Pair) -> Decision:
    """Decide about one pair. Where the application's code fails, there is nothing to see, and it is logged.

    Raises Unsettled where that can't be told yet; and what the database raises, where it can't be read.
    """
    try:
        return look_alone(pair)
    except Failed as failure:
        error = failure.__cause__ or failure
        if is_passing(error):
            raise Unsettled from error
        deny(pair.publication.label, error)
        return None


@from_primary()
def look_alone(pair: Pair) -> Decision:
    """The same, that raises Failed."""
    with snapshot([pair.publication.queryset.db, router.db_for_read(get_user_model())]) as is_consistent:
        decision = look(pair)
        # Rights are to be read after all content: what is shown was so before and after.
        if not is_consistent and look(pair) != decision:
            raise Unsettled
    return decision


def is_passing(error: BaseException) -> bool:
    """Whether a database refused for a reason that passes: a lock, a deadlock, a connection that was lost. On SQLite
    many another error is an OperationalError too; there its code tells."""
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return isinstance(error, OperationalError | InterfaceError)


def look(pair: Pair) -> Decision:
    try:
        key = decode(pair.publication.model, pair.hashid)
    except InvalidHashid:
        return None
    instance = pair.publication.queryset.filter(pk=key).first()
    viewer = refresh([pair.viewer]).get(pair.viewer)
    if instance is None or viewer is None:
        return None
    try:
        return copy_context().run(show, pair, viewer, instance)
    except BaseException as error:
        raise Failed from error


def show(pair: Pair, viewer: Viewer, instance: Model) -> Decision:
    with viewer.locale():
        if not pair.publication.permission.allows(viewer, instance):
            return None
        body = represent(pair.publication.serializer_for(viewer, instance), instance, viewer)
        return View(body, etag(body))
