"""Indexes by object on the tables in which guardian has its grants. Its own are by user and by group, for who asks
about one user; here it is asked who may see one object, which would be looked for among all grants."""

from collections.abc import Iterator
from typing import Any

from django.apps.registry import Apps
from django.db import migrations, models, router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from guardian.conf import settings

NAMES = {
    settings.USER_OBJ_PERMS_MODEL: "livegate_users_by_object",
    settings.GROUP_OBJ_PERMS_MODEL: "livegate_groups_by_object",
}


def add(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for model, index, is_there in indexes(apps, schema_editor):
        if not is_there:  # one may have been made before, without keeping who writes waiting
            schema_editor.add_index(model, index)


def remove(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    for model, index, is_there in indexes(apps, schema_editor):
        if is_there:
            schema_editor.remove_index(model, index)


def indexes(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> Iterator[tuple[Any, models.Index, bool]]:
    """For each table that is in this database, its model and index, and whether it has that."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        for label, name in NAMES.items():
            try:
                model = apps.get_model(label)
            except LookupError:  # one of the application's that is made in a later migration
                continue
            table = model._meta.db_table
            if table in tables and router.allow_migrate_model(connection.alias, model):
                constraints = connection.introspection.get_constraints(cursor, table)
                yield model, models.Index(fields=["content_type", "object_pk"], name=name), name in constraints


class Migration(migrations.Migration):
    dependencies = [migrations.swappable_dependency(label) for label in NAMES]

    operations = [migrations.RunPython(add, remove)]
