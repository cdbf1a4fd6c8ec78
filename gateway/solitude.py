"""Solitude: one decision as a GET makes it, for one viewer; nothing is read together, nothing shared."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.db import router

from ..permissions.viewers import refresh
from ..serializers.encoding import etag
from ..serializers.hashids import InvalidHashid, decode
from ..serializers.representation import represent
from .decisions import View
from .logs import deny
from .snapshots import snapshot

if TYPE_CHECKING:
    from django.db.models import Model

    from ..permissions.viewers import Viewer
    from .decisions import Decision, Pair


class Failed(Exception):
    """The application's code failed; its error is the cause."""


class Unsettled(Exception):
    """It changed while it was looked at, on a database that does not hold still."""


def decide_alone(pair: Pair) -> Decision:
    """Decide about one pair. Where the application's code fails, there is nothing to see, and it is logged."""
    try:
        return look_alone(pair)
    except Failed as failure:
        deny(pair.publication.label, failure.__cause__ or failure)
        return None


def look_alone(pair: Pair) -> Decision:
    """The same, that raises Failed; Unsettled, where it can't be told yet; and what the database raises, where it
    can't be read."""
    with snapshot([pair.publication.queryset.db, router.db_for_read(get_user_model())]) as is_consistent:
        decision = look(pair)
        # Rights are to be read after all content: what is shown was so before and after.
        if not is_consistent and look(pair) != decision:
            raise Unsettled
    return decision


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
