"""Solitude: one decision as a GET makes it, for one viewer; nothing is read together, nothing shared."""

from __future__ import annotations

import sqlite3
from contextvars import copy_context
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db import InterfaceError, OperationalError, router

from ..permissions.answers import ask_alone
from ..permissions.viewers import refresh
from ..serializers.encoding import etag
from ..serializers.hashids import InvalidHashid, decode
from ..serializers.representation import represent
from .decisions import View
from .grounds import NO_USER, NOT_THERE, Ground
from .logs import deny
from .primary import from_primary
from .snapshots import snapshot

if TYPE_CHECKING:
    from django.db.models import Model

    from ..permissions.viewers import Viewer
    from .decisions import Decision, Pair
    from .grounds import Grounds


class Failed(Exception):
    """The application's code failed; its error is the cause."""


class Unsettled(Exception):
    """It is to be asked again: the database could not answer, or changed while it was looked at and does not hold
    still."""


def decide_alone(pair: Pair, grounds: Grounds | None = None) -> Decision:
    """Decide about one pair. Where the application's code fails, there is nothing to see, and it is logged.

    Raises Unsettled where that can't be told yet; and what the database raises, where it can't be read.
    """
    try:
        return look_alone(pair, grounds)
    except Failed as failure:
        error = failure.__cause__ or failure
        if is_passing(error):
            raise Unsettled from error
        deny(pair.publication.label, error)
        return None


@from_primary()
def look_alone(pair: Pair, grounds: Grounds | None = None) -> Decision:
    """The same, that raises Failed."""
    with snapshot([pair.publication.queryset.db, router.db_for_read(get_user_model())]) as is_consistent:
        decision = look(pair, grounds)
        # Rights are to be read after all content: what is shown was so before and after.
        if not is_consistent and look(pair, grounds) != decision:
            raise Unsettled
    return decision


def is_passing(error: BaseException) -> bool:
    """Whether a database refused for a reason that passes: a lock, a deadlock, a connection that was lost. On SQLite
    many another error is an OperationalError too; there its code tells."""
    code = getattr(error.__cause__, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return isinstance(error, OperationalError | InterfaceError)


def look(pair: Pair, grounds: Grounds | None) -> Decision:
    ground = Ground()
    try:
        return look_for(pair, ground)
    finally:
        if grounds is not None:
            grounds.rest([pair], ground)


def look_for(pair: Pair, ground: Ground) -> Decision:
    try:
        key = decode(pair.publication.model, pair.hashid)
    except InvalidHashid:
        ground.word = NOT_THERE
        return None
    instance = pair.publication.queryset.filter(pk=key).first()
    viewer = refresh([pair.viewer]).get(pair.viewer)
    if instance is None or viewer is None:
        ground.word = NOT_THERE if instance is None else NO_USER
        return None
    try:
        return copy_context().run(show, pair, viewer, instance, ground)
    except BaseException as error:
        ground.fail({viewer: error})
        raise Failed from error


def show(pair: Pair, viewer: Viewer, instance: Model, ground: Ground) -> Decision:
    with viewer.locale():
        if not ask_alone(pair.publication.permission, viewer, instance, ground.notes):
            return None
        serializer = pair.publication.serializer_for(viewer, instance)
        body = represent(serializer, instance, viewer)
        return View(body, etag(body), serializer=serializer)
