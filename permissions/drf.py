"""DRF permission classes as permissions: what an application already has."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.permissions import AND, NOT, OR

from .requests import retrieval
from .rules import Permission, Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model

    from .viewers import Viewer

# How a DRF permission class says no, besides returning False. Any other exception is an error, not an answer.
REFUSALS = (
    Http404,
    PermissionDenied,
    exceptions.NotAuthenticated,
    exceptions.AuthenticationFailed,
    exceptions.PermissionDenied,
    exceptions.NotFound,
)


def drf(permission_class: Callable[[], Any]) -> Permission:
    """The answer that a DRF permission class gives to the viewer's GET of the instance.

    Takes what stands in a view's ``permission_classes``, also composed (``IsAuthenticated & IsOwner``). Asks
    ``has_permission``, then ``has_object_permission``. DRF's ``DjangoObjectPermissions`` checks nothing for GET.
    """

    def allows(viewer: Viewer, instance: Model) -> bool:
        view = retrieval(viewer, instance)
        question = answering(permission_class())
        try:
            return bool(
                question.has_permission(view.request, view)
                and question.has_object_permission(view.request, view, instance)
            )
        except REFUSALS:
            return False

    return Rule(f"drf({name_of(permission_class)})", allows, asks_for=None)


def answering(question: Any) -> Any:
    """The same question, each part of which answers for itself: DRF's ``&`` and ``~`` would lose a part's coroutine."""
    if isinstance(question, AND | OR | NOT):
        return type(question)(*map(answering, vars(question).values()))
    return Part(question)


class Part:
    """A permission class's instance whose answers are True or False."""

    def __init__(self, question: Any) -> None:
        self.question = question

    def has_permission(self, *asked: Any) -> bool:
        return truth(self.question.has_permission(*asked))

    def has_object_permission(self, *asked: Any) -> bool:
        return truth(self.question.has_object_permission(*asked))


def truth(answer: object) -> bool:
    """DRF takes any truthy answer for a yes; a coroutine that nobody awaited is truthy, and no answer."""
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError("An async DRF permission class was asked in sync code; its answer is not known.")
    return bool(answer)


def name_of(permission_class: Any) -> str:
    """The class's name; a composed class (an ``OperandHolder`` of DRF's) as the expression that made it."""
    if hasattr(permission_class, "__name__"):
        return str(permission_class.__name__)
    sign = {"AND": "&", "OR": "|", "NOT": "~"}[permission_class.operator_class.__name__]
    if sign == "~":
        return f"~{name_of(permission_class.op1_class)}"
    return f"({name_of(permission_class.op1_class)} {sign} {name_of(permission_class.op2_class)})"
