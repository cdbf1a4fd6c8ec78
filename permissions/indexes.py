"""Indexes by object on guardian's tables of grants: its own are by user, group and permission, for who asks about one
user; here it is asked who may see one object, which would be looked for among all grants."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.db import connections, router
from django.db.backends.utils import names_digest
from django.db.models import Index
from guardian.utils import get_group_obj_perms_model, get_user_obj_perms_model

from .grants import is_generic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from django.db.backends.base.base import BaseDatabaseWrapper

OBJECT = ("content_type", "object_pk")


def index_grants(using: str, plan: Any = None, verbosity: int = 1, stdout: TextIO | None = None, **kwargs: Any) -> None:
    """Add the indexes that are missing in this database: a receiver of ``post_migrate``. ``plan`` is None where a
    ``flush`` has sent that, which leaves all tables as they are.

    No migration: it would be of the one moment at which it runs. Tables may come later, or to another database, or be
    exchanged for the application's own (``GUARDIAN_USER_OBJ_PERMS_MODEL``); and where SQLite copies a table in order to
    change it, an index of which the model does not know is lost.
    """
    if plan is None:
        return
    connection = connections[using]
    for model, holder in ((get_user_obj_perms_model(), "user"), (get_group_obj_perms_model(), "group")):
        fields = (*OBJECT, holder, "permission")  # all that is asked, so that no row has to be fetched
        if router.allow_migrate_model(using, model) and is_missing(connection, model, fields):
            table = model._meta.db_table
            index = Index(fields=fields, name=f"livegate_by_object_{names_digest(table, length=8)}")
            if verbosity > 0:
                (stdout or sys.stdout).write(f"  Adding the index {index.name} to {table}\n")
            with connection.schema_editor() as editor:
                editor.add_index(model, index)


def is_missing(connection: BaseDatabaseWrapper, model: Any, fields: Iterable[str]) -> bool:
    """Whether the model's table is there, with columns for these fields, and has no index that begins with the object.
    One of a foreign key to the object has."""
    if not is_generic(model):
        return False
    table, columns = model._meta.db_table, {name: model._meta.get_field(name).column for name in fields}
    of_object = {columns[name] for name in OBJECT}
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return False
        found = connection.introspection.get_constraints(cursor, table).values()
        there = {column.name for column in connection.introspection.get_table_description(cursor, table)}
    is_made = there.issuperset(columns.values())  # a migration that is still to come may add or rename one
    return is_made and not any(one["index"] and set(one["columns"][:2]) == of_object for one in found)
