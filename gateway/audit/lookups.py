"""A lookup for one text among those of a JSON list, on whatever database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db.models import F, Lookup, TextField, Value
from django.db.models.functions import Cast, Replace
from django.db.models.lookups import Exact

from .models import clean

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
        super().__init__(F(path) if isinstance(path, str) else path, clean(text))  # as it is written down

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        path, parameters = self.process_lhs(compiler, connection)
        return f"{path} @> %s::jsonb", [*parameters, json.dumps([self.rhs])]

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        path, parameters = self.process_lhs(compiler, connection)
        return f"%s IN (SELECT value FROM json_each({path}))", [self.rhs, *parameters]  # noqa: S608

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:  # type: ignore[override]
        # The text with its quotes is in the list as it is written; a quote inside of another has a backslash before it.
        listed = Cast(self.lhs, TextField())
        # By Python it was written in ASCII; a database may write it anew, and not so.
        ways = dict.fromkeys(json.dumps(self.rhs, ensure_ascii=ascii_only) for ascii_only in (True, False))
        compiled = [
            compiler.compile(Exact(Replace(listed, Value(way), Value(""), output_field=TextField()), listed))
            for way in ways
        ]
        without = " AND ".join(sql for sql, _ in compiled)
        return f"NOT ({without})", [parameter for _, parameters in compiled for parameter in parameters]
