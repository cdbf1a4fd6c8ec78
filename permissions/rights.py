"""Rights: the permissions of all viewers of one evaluation, read together; as ``user.has_perm`` says for each alone."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import auth
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Permission, PermissionsMixin
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist, PermissionDenied
from django.db.models import Model
from guardian.backends import ObjectPermissionBackend
from guardian.conf import settings as guardian_settings
from guardian.core import ObjectPermissionChecker
from guardian.ctypes import get_content_type
from guardian.exceptions import WrongAppError
from guardian.utils import get_anonymous_user, get_group_obj_perms_model, get_user_obj_perms_model

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from django.db.models import QuerySet

# What a permission is about: the content type's key and the object's, as guardian's own cache has it.
Subject = tuple[Any, str]


class Rights:
    """The rights of some users. While it is theirs, ``user.has_perm`` answers from it and asks the database nothing.

    Object permissions are answered for the objects that were ``read``; for others the backends are asked, one by one.
    The users are fresh instances, made for one evaluation, and forgotten with it: a right is never older than that.
    """

    def __init__(self, users: Iterable[Any]) -> None:
        self._users = list(users)
        self._grants: dict[Subject, dict[Any, set[str]]] = {}
        self._has_read_models = False
        self._anonymous: Any = None
        named = guardian_settings.ANONYMOUS_USER_NAME is not None
        if named and any(isinstance(user, AnonymousUser) for user in self._users):
            with suppress(ObjectDoesNotExist):  # an error of those who ask, not of everyone
                self._anonymous = get_anonymous_user()
        for user in self._users:
            # A user model that answers for itself is asked itself.
            if getattr(type(user), "has_perm", None) in (PermissionsMixin.has_perm, AnonymousUser.has_perm):
                user.has_perm = partial(self.has_perm, user)

    def read(self, model: type[Model], keys: Collection[Any]) -> None:
        """Read the object permissions on the objects of a model with these keys, in three queries.

        The same three whether such objects exist or not, and whatever the number of users.
        """
        content_type = get_content_type(model)
        held = {(content_type.pk, str(key)): {} for key in keys}  # type: ignore[var-annotated]
        self._grants |= held
        people = [self._anonymous, *self._users]
        user_keys = {user.pk for user in people if user is not None and user.pk is not None}

        def grants(perms_model: Any) -> tuple[QuerySet[Any], str]:
            about = perms_model._base_manager.filter(permission__content_type=content_type)
            if perms_model.objects.is_generic():
                texts = [key for _, key in held]
                return about.filter(content_type=content_type, object_pk__in=texts), "object_pk"
            return about.filter(content_object__in=keys), "content_object_id"

        subject: Any = model  # guardian takes a class too, and does not say so
        rows, key_name = grants(get_user_obj_perms_model(subject))
        for user, key, codename in rows.filter(user__in=user_keys).values_list(
            "user", key_name, "permission__codename"
        ):
            held[content_type.pk, str(key)].setdefault(user, set()).add(codename)

        rows, key_name = grants(get_group_obj_perms_model(subject))
        members = members_of(user_keys, rows.values("group"))
        for group, key, codename in rows.values_list("group", key_name, "permission__codename"):
            for user in members.get(group, ()):
                held[content_type.pk, str(key)].setdefault(user, set()).add(codename)

    def has_perm(self, user: Any, perm: str, obj: Any = None) -> bool:
        """``user.has_perm(perm, obj)``: the backends in their order, guardian's and Django's answered from here."""
        if user.is_active and user.is_superuser:
            return True
        if obj is None and not self._has_read_models:
            self._read_model_permissions()
        backends: list[Any] = auth.get_backends()
        for backend in backends:
            if not hasattr(backend, "has_perm"):
                continue
            try:
                if type(backend) is ObjectPermissionBackend:  # which answers for objects only
                    allowed = isinstance(obj, Model) and self._granted(backend, user, perm, obj)
                else:
                    allowed = backend.has_perm(user, perm, obj)
                if allowed:
                    return True
            except PermissionDenied:
                return False
        return False

    def _granted(self, backend: Any, user: Any, perm: str, obj: Model) -> bool:
        """What guardian's backend answers, with its checker's cache filled from what was read."""
        content_type = get_content_type(obj)
        subject = content_type.pk, str(obj.pk)
        if subject not in self._grants:
            return bool(backend.has_perm(user, perm, obj))
        if not user.is_authenticated:
            if guardian_settings.ANONYMOUS_USER_NAME is None:
                return False
            user = self._anonymous or get_anonymous_user()  # which raises where there is none
        label, dot, _ = perm.partition(".")
        if dot and label not in (obj._meta.app_label, content_type.app_label):
            raise WrongAppError(f"{perm} is no permission on a {obj._meta.label}.")
        checker = ObjectPermissionChecker(user)
        checker._obj_perms_cache[subject] = list(self._grants[subject].get(user.pk, ()))
        return bool(checker.has_perm(perm, obj))

    def _read_model_permissions(self) -> None:
        """Fill the caches in which Django's ModelBackend keeps a user's model-level permissions, in three queries."""
        self._has_read_models = True
        users = {user.pk: user for user in self._users if user.pk is not None}
        own: dict[Any, set[str]] = {key: set() for key in users}
        through_groups: dict[Any, set[str]] = {key: set() for key in users}
        direct = Permission.objects.filter(user__in=users)
        for key, app, codename in direct.values_list("user", "content_type__app_label", "codename").order_by():
            own[key].add(f"{app}.{codename}")
        members = members_of(users)
        of_groups = Permission.objects.filter(group__in=members)
        for group, app, codename in of_groups.values_list("group", "content_type__app_label", "codename").order_by():
            for key in members[group]:
                through_groups[key].add(f"{app}.{codename}")
        for key, user in users.items():
            if user.is_active and not user.is_superuser:
                user._user_perm_cache, user._group_perm_cache = own[key], through_groups[key]


def members_of(users: Iterable[Any], groups: QuerySet[Any] | None = None) -> dict[Any, list[Any]]:
    """The keys of these users by the group that they are in, of all groups or of those in a subquery; one query."""
    try:
        relation: Any = get_user_model()._meta.get_field("groups")
    except FieldDoesNotExist:  # a user model without groups
        return {}
    group, user = relation.m2m_reverse_field_name(), relation.m2m_field_name()
    rows = relation.remote_field.through._base_manager.filter(**{f"{user}__in": list(users)})
    # As user.groups.all() has it: a group that the group model's own manager leaves out gives no rights.
    rows = rows.filter(**{f"{group}__in": relation.related_model._default_manager.values("pk")})
    if groups is not None:
        rows = rows.filter(**{f"{group}__in": groups})
    members: dict[Any, list[Any]] = {}
    for group_key, user_key in rows.values_list(group, user):
        members.setdefault(group_key, []).append(user_key)
    return members
