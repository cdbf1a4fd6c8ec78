"""Permissions: questions about a viewer and an instance, that combine with ``& | ~`` and print themselves.

The answer of a permission is True or False, and nothing else: a permission that answers anything else, or fails,
has not answered. What is unknown is never turned into a yes, also not by ``~`` around it: the error passes through
every operator, up to ``evaluate``, which shows that viewer nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import Error as DatabaseFailure
from django.db.models import ForeignKey, Model
from django.db.models.manager import BaseManager

from .crowds import common

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from .inquiries import Inquiry
    from .rights import Rights
    from .viewers import Viewer

    # Which of these viewers a question allows, told for all together; None where each has to be asked.
    Together = Callable[[AbstractSet[Viewer], Model, Rights], AbstractSet[Viewer] | None]
    # What a part of a permission answers, about one viewer.
    Answering = Callable[["Permission"], bool]


class Permission:
    """A question that is asked for one viewer about one instance.

    A subclass answers in ``allows`` and says in ``__repr__`` how it is written. Most applications need none: the
    functions of this module cover the usual questions, and ``@permission`` makes one from a function.

    ``reads`` names the paths that it follows from the instance, ``reads_of_user`` those from the viewer's user: what
    lies on them is fetched for all at once before anybody is asked. ``asks_for`` has the codenames of the object
    permissions on the instance that it asks for, None where it may be any: no others are read. ``asks_of_models`` tells
    whether it asks for permissions on whole models, which are read then also where there is no instance. A permission
    that leaves them as they are works as well.
    """

    reads: frozenset[str] = frozenset()
    reads_of_user: frozenset[str] = frozenset()
    asks_for: frozenset[str] | None = None
    asks_of_models: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "allows" in vars(cls):
            cls.allows = true_or_false(cls.allows)  # type: ignore[assignment]
            if "among" not in vars(cls):  # what a built-in says of all together is not what this one answers
                cls.among = Permission.among  # type: ignore[method-assign]
                cls.asks_for = None

    def allows(self, viewer: Viewer, instance: Model) -> bool:
        """Whether the viewer may see the instance; any exception means that it is not known."""
        raise NotImplementedError

    def among(self, viewers: AbstractSet[Viewer], inquiry: Inquiry) -> AbstractSet[Viewer]:
        """Those whom ``allows`` allows. One for whom that is not known is ``denied`` by the inquiry, and no yes."""
        return inquiry.one_by_one(self.allows, viewers)

    def __and__(self, other: Permission) -> Permission:
        return All(self, other) if isinstance(other, Permission) else NotImplemented

    def __or__(self, other: Permission) -> Permission:
        return AnyOf(self, other) if isinstance(other, Permission) else NotImplemented

    def __invert__(self) -> Permission:
        return Not(self)

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self!r} has no truth value before it is asked. Combine permissions with & | ~, "
            "not with and, or, not: Python would silently drop one side."
        )


def true_or_false(allows: Callable[[Any, Viewer, Model], bool]) -> Callable[[Any, Viewer, Model], bool]:
    """The same method, for which any other answer is an error: ``~`` would make a yes of a None."""

    @wraps(allows)
    def asked(self: Permission, viewer: Viewer, instance: Model) -> bool:
        answer = allows(self, viewer, instance)
        if answer is True or answer is False:
            return answer
        if iscoroutine(answer):
            answer.close()
        raise TypeError(f"{self!r} answered {type(answer).__name__}; a permission answers True or False.")

    return asked


@dataclass(frozen=True)
class Combined(Permission):
    """Two permissions, of which both may be asked."""

    left: Permission
    right: Permission

    @property
    def reads(self) -> frozenset[str]:  # type: ignore[override]
        return self.left.reads | self.right.reads

    @property
    def reads_of_user(self) -> frozenset[str]:  # type: ignore[override]
        return self.left.reads_of_user | self.right.reads_of_user

    @property
    def asks_for(self) -> frozenset[str] | None:  # type: ignore[override]
        return asked_for([self.left, self.right])

    @property
    def asks_of_models(self) -> bool:  # type: ignore[override]
        return self.left.asks_of_models or self.right.asks_of_models


class All(Combined):
    def decide(self, answer: Answering) -> bool:
        return answer(self.left) and answer(self.right)

    def allows(self, viewer: Viewer, instance: Model) -> bool:
        return self.decide(lambda part: part.allows(viewer, instance))

    def among(self, viewers: AbstractSet[Viewer], inquiry: Inquiry) -> AbstractSet[Viewer]:
        # Whatever the right one answers, nobody is allowed whom the left one is against.
        allowed = inquiry.ask(self.left, viewers)
        return allowed & inquiry.ask(self.right, allowed)

    def __repr__(self) -> str:
        return f"{within(self.left, AnyOf)} & {within(self.right, AnyOf, All)}"


class AnyOf(Combined):
    def decide(self, answer: Answering) -> bool:
        return answer(self.left) or answer(self.right)

    def allows(self, viewer: Viewer, instance: Model) -> bool:
        return self.decide(lambda part: part.allows(viewer, instance))

    def among(self, viewers: AbstractSet[Viewer], inquiry: Inquiry) -> AbstractSet[Viewer]:
        allowed = inquiry.ask(self.left, viewers)
        others = inquiry.ask(self.right, inquiry.remaining(viewers - allowed))
        return allowed | others if others else allowed

    def __repr__(self) -> str:
        return f"{self.left!r} | {within(self.right, AnyOf)}"


@dataclass(frozen=True)
class Not(Permission):
    inner: Permission

    @property
    def reads(self) -> frozenset[str]:  # type: ignore[override]
        return self.inner.reads

    @property
    def reads_of_user(self) -> frozenset[str]:  # type: ignore[override]
        return self.inner.reads_of_user

    @property
    def asks_for(self) -> frozenset[str] | None:  # type: ignore[override]
        return self.inner.asks_for

    @property
    def asks_of_models(self) -> bool:  # type: ignore[override]
        return self.inner.asks_of_models

    def decide(self, answer: Answering) -> bool:
        return not answer(self.inner)

    def allows(self, viewer: Viewer, instance: Model) -> bool:
        return self.decide(lambda part: part.allows(viewer, instance))

    def among(self, viewers: AbstractSet[Viewer], inquiry: Inquiry) -> AbstractSet[Viewer]:
        refused = viewers - inquiry.ask(self.inner, viewers)
        return inquiry.remaining(refused)

    def __repr__(self) -> str:
        return f"~{within(self.inner, All, AnyOf)}"


def within(permission: Permission, *looser: type[Permission]) -> str:
    return f"({permission!r})" if isinstance(permission, looser) else repr(permission)


@dataclass(frozen=True)
class Rule(Permission):
    """A permission that a function answers, under the name by which it is printed.

    ``together`` is the same answer for many viewers; where it raises, each is asked alone.
    """

    name: str
    answer: Callable[[Viewer, Model], bool]
    reads: frozenset[str] = frozenset()
    reads_of_user: frozenset[str] = frozenset()
    asks_for: frozenset[str] | None = frozenset()
    asks_of_models: bool = False
    together: Together | None = None

    def allows(self, viewer: Viewer, instance: Model) -> bool:
        return self.answer(viewer, instance)

    def among(self, viewers: AbstractSet[Viewer], inquiry: Inquiry) -> AbstractSet[Viewer]:
        allowed = None
        if self.together is not None:
            try:
                allowed = self.together(viewers, inquiry.instance, inquiry.rights)
            except DatabaseFailure:
                raise
            except Exception:
                allowed = None  # an error of those whom it concerns, not of all
        return super().among(viewers, inquiry) if allowed is None else allowed

    def __repr__(self) -> str:
        return self.name


def permission(function: Callable[[Viewer, Any], bool]) -> Permission:
    """Make a permission from a function of (viewer, instance) that returns True or False; usable as a decorator.

    >>> @permission
    ... def is_published(viewer, instance):
    ...     return instance.published
    >>> is_published & ~is_self
    is_published & ~is_self
    """
    return Rule(function.__name__, function, asks_for=None)


def has_perm(perm: str) -> Permission:
    """The viewer has this object permission on the instance, as ``user.has_perm(perm, instance)`` says.

    ``perm`` is a codename (``"view_card"``, of the instance's app) or ``"app.codename"``. With django-guardian,
    direct grants and those of the viewer's groups count, model-level permissions do not; superusers have all.
    """
    return Rule(
        f'has_perm("{perm}")',
        lambda viewer, instance: bool(viewer.user.has_perm(qualified(perm, instance), instance)),
        asks_for=frozenset([perm.rpartition(".")[2]]),
        together=lambda viewers, instance, rights: rights.holding(viewers, qualified(perm, instance), instance),
    )


def has_model_perm(perm: str) -> Permission:
    """The viewer has this permission on the whole model, as ``user.has_perm(perm)`` says."""
    return Rule(
        f'has_model_perm("{perm}")',
        lambda viewer, instance: bool(viewer.user.has_perm(qualified(perm, instance))),
        asks_of_models=True,
        together=lambda viewers, instance, rights: rights.holding(viewers, qualified(perm, instance)),
    )


def is_owner(path: str) -> Permission:
    """The viewer is the user whom the instance names at ``path``, or one of them.

    The path may cross relations, as in a queryset: ``is_owner("board__owner")``, ``is_owner("editors")``.
    """

    def owns(viewer: Viewer, instance: Model) -> bool:
        return viewer.user.is_authenticated and identity(viewer.user) in values_at(instance, path)

    def own(viewers: AbstractSet[Viewer], instance: Model, rights: Rights) -> AbstractSet[Viewer]:
        users = get_user_model()._meta.concrete_model
        owners = {key for model, key in values_at(instance, path) if model is users} - {None}
        return rights.crowd.being(owners) & viewers

    return Rule(f'is_owner("{path}")', owns, reads=frozenset([path]), together=own)


def same_tenant(path: str, user_path: str) -> Permission:
    """The instance and the viewer belong to one tenant: the values at both paths, which may be several, meet.

    ``same_tenant("board__organization", "memberships__organization")``. Nothing is no tenant: an instance or a
    user without one has none in common with anybody.
    """

    def meets(viewer: Viewer, instance: Model) -> bool:
        if not viewer.user.is_authenticated:
            return False
        return not values_at(instance, path).isdisjoint(values_at(viewer.user, user_path))

    def meet(viewers: AbstractSet[Viewer], instance: Model, rights: Rights) -> set[Viewer]:
        tenants = values_at(instance, path)
        return {
            viewer
            for viewer in viewers & rights.crowd.known
            if not tenants.isdisjoint(values_at(rights.user_of(viewer), user_path))
        }

    return Rule(
        f'same_tenant("{path}", "{user_path}")',
        meets,
        reads=frozenset([path]),
        reads_of_user=frozenset([user_path]),
        together=meet,
    )


anyone: Permission = Rule("anyone", lambda viewer, instance: True, together=lambda viewers, instance, rights: viewers)
"""Everyone, also an anonymous visitor."""

is_authenticated: Permission = Rule(
    "is_authenticated",
    lambda viewer, instance: bool(viewer.user.is_authenticated),
    together=lambda viewers, instance, rights: common(rights.crowd.known, viewers),
)
"""The viewer is logged in."""

is_self: Permission = Rule(
    "is_self",
    lambda viewer, instance: is_user(instance) and identity(instance) == identity(viewer.user),
    together=lambda viewers, instance, rights: themselves(viewers, instance, rights),
)
"""The instance is the viewer's own user."""


def is_user(instance: Model) -> bool:
    return isinstance(instance, get_user_model())


def themselves(viewers: AbstractSet[Viewer], instance: Model, rights: Rights) -> AbstractSet[Viewer]:
    model, key = identity(instance)
    if key is None or not is_user(instance) or model is not get_user_model()._meta.concrete_model:
        return set()
    return rights.crowd.being([key]) & viewers


def asked_for(permissions: Iterable[Permission]) -> frozenset[str] | None:
    """The codenames of all object permissions that any of these asks for; None where that is not known of one."""
    codenames: frozenset[str] = frozenset()
    for one in permissions:
        if one.asks_for is None:
            return None
        codenames |= one.asks_for
    return codenames


def qualified(perm: str, instance: Model) -> str:
    return perm if "." in perm else f"{instance._meta.app_label}.{perm}"


def identity(value: Any) -> tuple[type | None, Any]:
    """What two values must have in common to be the same: the model and primary key of an instance, else the value."""
    if isinstance(value, Model):
        return value._meta.concrete_model, value.pk
    return None, value


def values_at(instance: Any, path: str) -> set[tuple[type | None, Any]]:
    """The identities of all that lies at the end of a ``__`` path from an instance; None and '' are not values."""
    *inner, last = path.split("__")
    found = [instance]
    for name in inner:
        found = [value for one in found for value in follow(one, name)]
    return {value for one in found for value in ends(one, last)} - {(None, "")}


def follow(instance: Any, name: str) -> Iterator[Any]:
    try:
        value = getattr(instance, name)
    except ObjectDoesNotExist:  # the other side of a one-to-one that nobody holds
        return
    if isinstance(value, BaseManager):
        yield from value.all()
    elif value is not None:
        yield value


def ends(instance: Any, name: str) -> Iterator[tuple[type | None, Any]]:
    """The identities at the last step; the target of a foreign key is not fetched to learn its key."""
    try:
        step = instance._meta.get_field(name)
    except FieldDoesNotExist:
        step = None
    if isinstance(step, ForeignKey) and step.target_field.primary_key:
        key = getattr(instance, step.attname)
        if key is not None:
            yield step.related_model._meta.concrete_model, key
    else:
        for value in follow(instance, name):
            yield identity(value)


def relations_on(model: type[Model], path: str) -> str:
    """The part of a path from a model that has to be fetched to know what lies at its end, as ``prefetch_related``
    takes it; '' where nothing has to be: the key that a foreign key holds is known without its target."""
    steps = []
    names = path.split("__")
    for name in names:
        try:
            step: Any = model._meta.get_field(name)
        except FieldDoesNotExist:
            break
        if not step.is_relation or (name is names[-1] and isinstance(step, ForeignKey)):
            break
        steps.append(name)
        model = step.related_model
    return "__".join(steps)
