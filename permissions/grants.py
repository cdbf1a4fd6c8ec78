"""Grants: what is asked of the database about who is there, who was granted what, and who is in which group."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import Case, F, OuterRef, QuerySet, Subquery, TextField, Value, When

from .aggregates import Collected
from .lookups import Among, keyed
from .queries import Parameter, is_one, is_plain, rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from django.db.models.manager import BaseManager

    from .aggregates import Keys

    Rows = QuerySet[Any, Any]
    Asked = Collection[Any] | Parameter
    # Of one of the kinds below, as far as it has them: the key of an object, if there are several, the codename of a
    # permission on it, a group as the database names it, the keys of users.
    Row = tuple[int, Any, Any, Any, Any]

# What a row tells: who holds a permission on an object; which group does; who is in such a group; which accounts are
# active, of users and of superusers.
HOLDERS, GROUP, MEMBERS, USERS, SUPERUSERS = range(5)
# With more users by objects it is not looked up whether each user was granted something on each object, but to whom.
WIDE = 10_000
NOTHING = Value(None, output_field=TextField())


@dataclass(frozen=True)
class Sought:
    """The active accounts of a user model, where one is given; the grants in two models of guardian's on objects of a
    content type, where those are: of these codenames, or all, and by way of the groups in which users are by this
    relation, if by any. One ``is_wide`` where there are more users by objects than ``WIDE``."""

    accounts: Any = None
    to_users: Any = None
    to_groups: Any = None
    content_type: Any = None
    codenames: frozenset[str] | None = None
    groups: Any = None
    is_wide: bool = False

    def keys(self, keys: Collection[Any], users: Collection[Any]) -> dict[str, Collection[Any]]:
        """The keys that are looked for, by their names in the querysets."""
        asked = {"users": users}
        if self.to_users is not None:
            texts = list(map(str, keys))
            for name, model in (("keys", self.to_users), ("keys_of_groups", self.to_groups)):
                asked[name] = texts if is_generic(model) else keys
        return asked

    @property
    def kinds(self) -> list[int]:
        """Of what there are rows; those of superusers come with those of users."""
        of_grants = [] if self.to_users is None else [HOLDERS, GROUP, *([MEMBERS] if self.groups else [])]
        return of_grants if self.accounts is None else [*of_grants, USERS]

    @property
    def managers(self) -> list[BaseManager[Any]]:
        managers = [] if self.accounts is None else [self.accounts._default_manager]
        if self.to_users is not None:
            managers += [self.to_users._base_manager, self.to_groups._base_manager, *managers_of_groups(self.groups)]
        return managers


def read(sought: Sought, keys: Collection[Any] = (), users: Collection[Any] = ()) -> list[Row]:
    """What is sought about the objects with these keys and about these users: one query, where one can give all of
    it."""
    sought = replace(sought, is_wide=len(keys) * len(users) > WIDE)
    asked, managers = sought.keys(keys, users), sought.managers
    is_stable = all(map(is_plain, managers))
    if is_stable and is_alike(sought) and len({manager.db for manager in managers}) == 1:
        return rows_of(united, sought, is_stable=True, **asked)
    rows: list[Row] = []
    for kind in sought.kinds:
        if kind == MEMBERS:
            asked["groups"] = {row[3] for row in rows if row[0] == GROUP}
        rows += rows_of(part, sought, kind, is_stable=is_stable, **asked)
    return rows


@lru_cache(1_000)
def is_alike(sought: Sought) -> bool:
    """Whether what the rows of one kind have in a column is of the type that those of another have there."""
    if sought.to_users is None:
        return True
    alike = [(key_field(sought.to_users), key_field(sought.to_groups))]
    if sought.groups:
        through = sought.groups.remote_field.through._meta
        in_group = through.get_field(sought.groups.m2m_reverse_field_name())
        alike.append((in_group.target_field, sought.to_groups._meta.get_field("group").target_field))
    return all(kind_of(one) == kind_of(other) for one, other in alike)


def united(sought: Sought, **keys: Asked) -> Rows:
    first, *others = (part(sought, kind, **keys) for kind in sought.kinds)
    return first.union(*others, all=True) if others else first


def part(
    sought: Sought,
    kind: int,
    users: Asked,
    keys: Asked = (),
    keys_of_groups: Asked = (),
    groups: Asked | None = None,
) -> Rows:
    """Rows of one kind. The members are those of these groups, or of those that hold something."""
    if kind == USERS:
        manager = sought.accounts._default_manager
        active = of_users(manager.filter(is_active=True), "pk", users, [manager])
        return columns(active, "pk", Case(When(is_superuser=True, then=Value(SUPERUSERS)), default=Value(USERS)))
    if kind == HOLDERS:
        rows = grants(sought, sought.to_users, keys)
        if sought.is_wide:
            direct = rows.filter(Among("user", users, leads=False))
        else:
            direct = of_users(rows, "user", users, [sought.to_users._base_manager])
        return columns(direct, "user", Value(kind), about(sought.to_users, keys), codename(sought.to_users))
    of_groups = grants(sought, sought.to_groups, keys_of_groups)
    if kind == GROUP:
        told = about(sought.to_groups, keys_of_groups)
        return columns(of_groups, None, Value(kind), told, codename(sought.to_groups), F("group"))
    group = sought.groups.m2m_reverse_field_name()
    holding = of_groups.order_by().values("group").query if groups is None else groups
    members = memberships(sought.groups, users).filter(Among(group, holding, leads=False))
    return columns(members, sought.groups.m2m_field_name(), Value(kind), group=F(group))


def of_users(rows: Rows, path: str, users: Asked, managers: Iterable[BaseManager[Any]]) -> Rows:
    """Those of the rows that have one of these users in a column. SQL of the application's, as managers may have, is
    written for one table, and is not to see another beside it."""
    return keyed(rows, path, users) if all(map(is_plain, managers)) else rows.filter(Among(path, users))


def columns(
    rows: Rows, users: str | None, kind: Any, about: Any = NOTHING, codename: Any = NOTHING, group: Any = NOTHING
) -> Rows:
    """All columns, under names that no model has: of each row, or of all together that are alike, with the users whom
    they have at a path."""
    alike = rows.order_by().values(livegate_kind=kind, livegate_about=about, livegate_group=group)
    alike = alike.annotate(livegate_users=Collected(users) if users else NOTHING)
    # Not before, so that they are told apart by the key of the permission: to sort by its name takes longer than to
    # find the rows.
    alike = alike.annotate(livegate_codename=codename)
    found: Rows = alike.values_list(*(f"livegate_{name}" for name in ("kind", "about", "codename", "group", "users")))
    return found


def codename(perms_model: Any) -> Subquery:
    """That of the permission which a row grants."""
    permission = perms_model._meta.get_field("permission").related_model
    return Subquery(QuerySet(permission).filter(pk=OuterRef("permission")).order_by().values("codename"))


def grants(sought: Sought, perms_model: Any, keys: Asked) -> Rows:
    """The rows of a model of guardian's about some objects. They are not to be found by the permission, of which a
    database does not know whether it has few grants or nearly all."""
    permission = perms_model._meta.get_field("permission").related_model
    codenames = {} if sought.codenames is None else {"codename__in": sorted(sought.codenames)}
    wanted: Rows = QuerySet(permission).filter(content_type=sought.content_type, **codenames).order_by().values("pk")
    found: Rows = perms_model._base_manager.filter(Among("permission", wanted.query, leads=False))
    if is_generic(perms_model):
        return found.filter(Among("object_pk", keys), content_type=sought.content_type)
    return found.filter(Among("content_object", keys))


def about(perms_model: Any, keys: Asked) -> Any:
    """What tells of such a row which object it is about; nothing where there is only one, for it takes time to sort by
    what is all the same."""
    if is_one(keys):
        return NOTHING
    return F("object_pk" if is_generic(perms_model) else "content_object_id")


def key_field(perms_model: Any) -> Any:
    """The field that has the keys of the objects."""
    if is_generic(perms_model):
        return perms_model._meta.get_field("object_pk")
    return perms_model._meta.get_field("content_object").target_field


def kind_of(field: Any) -> Any:
    """All that decides what its column holds, and what is made of that."""
    _, path, arguments, options = field.deconstruct()
    return path, arguments, options


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
    group, user = relation.m2m_reverse_field_name(), relation.m2m_field_name()
    by_group = memberships(relation, users).order_by().values_list(group)
    found: Rows = by_group.annotate(livegate_users=Collected(user))
    return found


def memberships(relation: Any, users: Asked) -> Rows:
    """Of these users, in groups."""
    through, managers = relation.remote_field.through, managers_of_groups(relation)
    rows = of_users(through._base_manager.all(), relation.m2m_field_name(), users, managers)
    counted = relation.related_model._default_manager.all()
    if counted.query.where:  # as in user.groups.all(): what the group model's own manager leaves out gives no rights
        rows = rows.filter(**{f"{relation.m2m_reverse_field_name()}__in": counted.values("pk")})
    return rows
