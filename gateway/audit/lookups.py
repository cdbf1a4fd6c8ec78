"""A lookup for one text among those of a JSON list, on whatever database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db.models import F, Lookup, TextField, Value
from django.db.models.functions import Cast, StrIndex
from django.db.models.lookups import GreaterThan

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

    Sql = tuple[str, list[Any]]
    Base = Lookup[Any]
else:
    Base = Lookup


class Holds(Base):
    """The list of texts in a JSON field has this text in it: ``queryset.filter(Holds("users", "17"))``.

    On PostgreSQL it is a question that a GIN index of ``jsonb_path_ops`` answers; on other databases rows are looked at
    one by one.
    """

    lookup_name = "holds"
    prepare_rhs = False

    def __init__(self, path: Any, text: str) -> None:
        super().__init__(F(path) if isinstance(path, str) else path, text)

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        path, parameters = self.process_lhs(compiler, connection)
        return f"{path} @> %s::jsonb", [*parameters, json.dumps([self.rhs])]

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        path, parameters = self.process_lhs(compiler, connection)
        return f"%s IN (SELECT value FROM json_each({path}))", [self.rhs, *parameters]  # noqa: S608

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:  # type: ignore[override]
        # The list was written as the text is here, and a quote inside of a text has a backslash before it there.
        written = Cast(self.lhs, TextField())
        found = GreaterThan(StrIndex(written, Value(json.dumps(self.rhs), output_field=TextField())), 0)
        return compiler.compile(found)  # type: ignore[return-value]
