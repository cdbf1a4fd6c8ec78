"""Grants: what is asked of the database about who is there, who was granted what, and who is in which group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist

from .aggregates import Collected
from .lookups import Among
from .queries import is_plain, rows_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet

    from .queries import Parameter

    Keys = Collection[Any] | Parameter
    Codenames = frozenset[str] | None


def accounts(users: type[Any], keys: Collection[Any]) -> dict[bool, list[Any]]:
    """The keys of the active users among these, by whether they are superusers; one query."""
    return dict(rows_of(accounts_among, users, is_stable=is_plain(users._default_manager), keys=keys))


def accounts_among(users: type[Any], keys: Keys) -> QuerySet[Any, Any]:
    active: QuerySet[Any, Any] = users._default_manager.filter(Among("pk", keys), is_active=True).order_by()
    return active.values_list("is_superuser").annotate(keys=Collected("pk"))  # type: ignore[no-any-return]


def grants_to_users(
    perms_model: type[Any], content_type: Any, codenames: Codenames, keys: Collection[Any], users: Collection[Any]
) -> list[tuple[Any, str, list[Any]]]:
    """The object's key and the codename of every permission that was granted to some of these users on some of these
    objects, with the keys of those users; one query. No codenames stand for all."""
    about = perms_model, content_type, codenames
    return rows_of(to_users, *about, is_stable=is_plain(perms_model._base_manager), keys=keys, users=users)


def to_users(perms_model: type[Any], content_type: Any, codenames: Codenames, **keys: Keys) -> QuerySet[Any, Any]:
    rows, key = grants(perms_model, content_type, codenames, keys["keys"])
    granted = rows.filter(Among("user", keys["users"])).order_by()
    return granted.values_list(key, "permission__codename").annotate(users=Collected("user"))  # type: ignore[no-any-return]


def grants_to_groups(
    perms_model: type[Any], content_type: Any, codenames: Codenames, keys: Collection[Any]
) -> list[tuple[Any, str, Any]]:
    """The object's key, the codename and the group of every permission that was granted to a group on some of these
    objects; one query."""
    about = perms_model, content_type, codenames
    return rows_of(to_groups, *about, is_stable=is_plain(perms_model._base_manager), keys=keys)


def to_groups(perms_model: type[Any], content_type: Any, codenames: Codenames, keys: Keys) -> QuerySet[Any, Any]:
    rows, key = grants(perms_model, content_type, codenames, keys)
    return rows.values_list(key, "permission__codename", "group")


def grants(
    perms_model: type[Any], content_type: Any, codenames: Codenames, keys: Keys
) -> tuple[QuerySet[Any, Any], str]:
    """The rows of a model of guardian's about some objects, and where it has the object's key."""
    about = perms_model._base_manager.filter(permission__content_type=content_type)
    if codenames is not None:
        about = about.filter(permission__codename__in=sorted(codenames))
    if perms_model.objects.is_generic():
        return about.filter(Among("object_pk", keys), content_type=content_type), "object_pk"
    return about.filter(Among("content_object", keys)), "content_object_id"


def members_of(users: Collection[Any], groups: Collection[Any] | None = None) -> dict[Any, list[Any]]:
    """The keys of these users by the group that they are in, of all groups or of these; one query."""
    try:
        relation: Any = get_user_model()._meta.get_field("groups")
    except FieldDoesNotExist:  # a user model without groups
        return {}
    managers = relation.remote_field.through._base_manager, relation.related_model._default_manager
    among = {"users": users} if groups is None else {"users": users, "groups": groups}
    return dict(rows_of(memberships, relation, is_stable=all(map(is_plain, managers)), **among))


def memberships(relation: Any, users: Keys, groups: Keys | None = None) -> QuerySet[Any, Any]:
    group, user = relation.m2m_reverse_field_name(), relation.m2m_field_name()
    rows = relation.remote_field.through._base_manager.filter(Among(user, users))
    if groups is not None:
        rows = rows.filter(Among(group, groups, leads=False))
    counted = relation.related_model._default_manager.all()
    if counted.query.where:  # as in user.groups.all(): what the group model's own manager leaves out gives no rights
        rows = rows.filter(**{f"{group}__in": counted.values("pk")})
    return rows.values_list(group).annotate(users=Collected(user)).order_by()  # type: ignore[no-any-return]
