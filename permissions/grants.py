"""Grants: what is asked of the database about who is there, who was granted what, and who is in which group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Case, F, TextField, Value, When
from django.db.models.lookups import In

from .aggregates import Collected
from .lookups import Among, Aside
from .queries import is_plain, rows_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet
    from django.db.models.manager import BaseManager

    from .aggregates import Keys
    from .queries import Parameter

    Rows = QuerySet[Any, Any]
    Asked = Collection[Any] | Parameter
    # Of one of the kinds below, as far as it has them: the key of an object, the codename of a permission on it, a
    # group as the database names it, the keys of users.
    Row = tuple[int, Any, Any, Any, Any]

# What a row tells: who holds a permission on an object; which group does; who is in such a group; which accounts are
# active, of users and of superusers.
HOLDERS, GROUP, MEMBERS, USERS, SUPERUSERS = range(5)
NOTHING = Value(None, output_field=TextField())


@dataclass(frozen=True)
class Sought:
    """The active accounts of a user model, where one is given; the grants in two models of guardian's on objects of a
    content type, where those are: of these codenames, or all, and by way of the groups in which users are by this
    relation, if by any."""

    accounts: type[Any] | None = None
    to_users: Any = None
    to_groups: Any = None
    content_type: Any = None
    codenames: frozenset[str] | None = None
    groups: Any = None

    def keys(self, keys: Collection[Any], users: Collection[Any]) -> dict[str, Collection[Any]]:
        """The keys that are looked for, by their names in the querysets."""
        asked = {"users": users}
        if self.to_users is not None:
            texts = list(map(str, keys))
            for name, model in (("keys", self.to_users), ("keys_of_groups", self.to_groups)):
                asked[name] = texts if is_generic(model) else keys
        return asked

    @property
    def managers(self) -> list[BaseManager[Any]]:
        managers = [] if self.accounts is None else [self.accounts._default_manager]
        if self.to_users is not None:
            managers += [self.to_users._base_manager, self.to_groups._base_manager, *managers_of_groups(self.groups)]
        return managers


def read(sought: Sought, keys: Collection[Any] = (), users: Collection[Any] = ()) -> list[Row]:
    """What is sought about the objects with these keys and about these users: one query, where one database has all of
    it, and nothing but that decides what there is."""
    asked, managers = sought.keys(keys, users), sought.managers
    is_stable = all(map(is_plain, managers))
    is_alike = sought.to_users is None or is_generic(sought.to_users) == is_generic(sought.to_groups)
    if is_stable and is_alike and len({manager.db for manager in managers}) == 1:
        return rows_of(united, sought, is_stable=True, **asked)
    numbers = range(len(parts(sought, **asked)))
    return [row for number in numbers for row in rows_of(part, sought, number, is_stable=is_stable, **asked)]


def united(sought: Sought, **keys: Asked) -> Rows:
    first, *others = parts(sought, **keys)
    return first.union(*others, all=True) if others else first


def part(sought: Sought, number: int, **keys: Asked) -> Rows:
    return parts(sought, **keys)[number]


def parts(sought: Sought, users: Asked, keys: Asked = (), keys_of_groups: Asked = ()) -> list[Rows]:
    """Querysets of rows."""
    found = []
    if sought.to_users is not None:
        direct, about = grants(sought, sought.to_users, keys)
        of_groups, about_groups = grants(sought, sought.to_groups, keys_of_groups)
        codename = F("permission__codename")
        found.append(collected(columns(direct.filter(Among("user", users)), HOLDERS, F(about), codename), "user"))
        found.append(columns(of_groups, GROUP, F(about_groups), codename, F("group")).annotate(livegate_users=NOTHING))
        if sought.groups:
            group = sought.groups.m2m_reverse_field_name()
            granted = In(Aside(F(group)), of_groups.order_by().values("group").query)
            members = memberships(sought.groups, users).filter(granted)
            found.append(collected(columns(members, MEMBERS, group=F(group)), sought.groups.m2m_field_name()))
    if sought.accounts is not None:
        active = sought.accounts._default_manager.filter(Among("pk", users), is_active=True)
        kind = Case(When(is_superuser=True, then=Value(SUPERUSERS)), default=Value(USERS))
        found.append(collected(columns(active, kind), "pk"))
    return found


def columns(rows: Rows, kind: Any, about: Any = NOTHING, codename: Any = NOTHING, group: Any = NOTHING) -> Rows:
    """All but the last column of rows, under names that no model has."""
    named = {"livegate_kind": kind if isinstance(kind, Case) else Value(kind)}
    named |= {"livegate_about": about, "livegate_codename": codename, "livegate_group": group}
    return rows.order_by().annotate(**named).values_list(*named)  # type: ignore[no-any-return]


def collected(rows: Rows, path: str) -> Rows:
    return rows.annotate(livegate_users=Collected(path))  # type: ignore[no-any-return]


def grants(sought: Sought, perms_model: Any, keys: Asked) -> tuple[Rows, str]:
    """The rows of a model of guardian's about some objects, and where it has the object's key."""
    about = perms_model._base_manager.filter(permission__content_type=sought.content_type)
    if sought.codenames is not None:
        about = about.filter(permission__codename__in=sorted(sought.codenames))
    if is_generic(perms_model):
        return about.filter(Among("object_pk", keys), content_type=sought.content_type), "object_pk"
    return about.filter(Among("content_object", keys)), "content_object_id"


def is_generic(perms_model: Any) -> bool:
    return bool(perms_model.objects.is_generic())


def groups_of_users() -> Any:
    """The relation of users to groups; None where the user model has none."""
    try:
        return get_user_model()._meta.get_field("groups")
    except FieldDoesNotExist:
        return None


def managers_of_groups(relation: Any) -> list[BaseManager[Any]]:
    return [relation.remote_field.through._base_manager, relation.related_model._default_manager] if relation else []


def members_of(users: Collection[Any]) -> dict[Any, Keys]:
    """The keys of these users by the group that they are in; one query."""
    if relation := groups_of_users():
        return dict(rows_of(members, relation, is_stable=all(map(is_plain, managers_of_groups(relation))), users=users))
    return {}


def members(relation: Any, users: Asked) -> Rows:
    rows = memberships(relation, users).values_list(relation.m2m_reverse_field_name())
    return rows.annotate(livegate_users=Collected(relation.m2m_field_name())).order_by()  # type: ignore[no-any-return]


def memberships(relation: Any, users: Asked) -> Rows:
    """Of these users, in groups."""
    rows = relation.remote_field.through._base_manager.filter(Among(relation.m2m_field_name(), users))
    counted = relation.related_model._default_manager.all()
    if counted.query.where:  # as in user.groups.all(): what the group model's own manager leaves out gives no rights
        rows = rows.filter(**{f"{relation.m2m_reverse_field_name()}__in": counted.values("pk")})
    return rows  # type: ignore[no-any-return]
