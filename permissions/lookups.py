"""A lookup for many keys: one parameter, where the database can take them so."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from django.db.models import CharField, F, IntegerField, Lookup, UUIDField
from django.db.models.lookups import In
from django.db.models.sql import Query
from django.db.models.sql.datastructures import BaseTable
from django.db.models.sql.where import AND

from .queries import Parameter, is_one

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import QuerySet
    from django.db.models.sql.compiler import SQLCompiler

    from .queries import Prepare

    Sql = tuple[str, list[Any]]
    Base = Lookup[Any]
else:
    Base = Lookup


# The integer types of PostgreSQL, with the bits of what each can hold beside the sign.
BITS = {"smallint": 15, "integer": 31, "bigint": 63}
# Of how many sets of keys the text is kept.
KNOWN = 16
# A table of keys on SQLite. Nothing in it has a name that SQL of an application's, which stands beside it, may have.
BESIDE = "(SELECT value AS livegate_key FROM json_each(%s)) livegate_keys"
# Takes the place of a number that SQLite can't hold: it equals no number and no text.
NO_NUMBER = b"no number"
# The kinds of columns of which keys are known as what the database has, if they are of Django's own making.
KINDS = (IntegerField, UUIDField, CharField)
# By what a field says of which type its column is.
TYPED_BY = ("get_internal_type", "db_type", "rel_db_type", "cast_db_type")


class Among(Base):
    """The value at a path is one of these keys: ``queryset.filter(Among("user", keys))``; or of those of a query.

    The same as ``user__in=keys``, which prepares, writes and parses each key by itself: for 1,000 of them, ten times
    the work. One that does not ``lead`` sorts out among the rows that are found by something else: a database that
    takes all groups to be of about one size would look at all members of a large one for the few who are asked about.
    """

    lookup_name = "among"
    prepare_rhs = False

    def __init__(
        self, path: Any, keys: Collection[Any] | Parameter | Query, *, leads: bool = True, are_beside: bool = False
    ) -> None:
        one_by_one = keys if isinstance(keys, Parameter | Query) else list(keys)
        super().__init__(F(path) if isinstance(path, str) else path, one_by_one)
        self._leads = leads
        self._are_beside = are_beside

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:  # type: ignore[override]
        keys = self.rhs if isinstance(self.rhs, Query) else [key for key in self.rhs if key is not None]
        return In(self.lhs, keys).as_sql(compiler, connection)  # type: ignore[return-value]

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        path, parameters = self._path(compiler, connection)
        if isinstance(self.rhs, Query):
            return self._in_query(path, parameters, compiler, connection)
        if is_one(self.rhs):
            return f"{path} = %s", [*parameters, self._parameter(self._one, connection)]
        if self._are_beside:
            return f"{path} = livegate_key", parameters
        return f"{path} IN (SELECT value FROM json_each(%s))", [*parameters, self._parameter(self._json, connection)]  # noqa: S608

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        path, parameters = self._path(compiler, connection)
        if isinstance(self.rhs, Query):
            return self._in_query(path, parameters, compiler, connection)
        kind = self._column.cast_db_type(connection)
        # Of the column's own type, the keys are looked up in a hash; of another, one after the other, for each row.
        typed = f"%s::{kind}[]" if kind in BITS else "%s"
        return f"{path} = ANY({typed})", [*parameters, self._parameter(self._array, connection)]

    def beside(self, connection: BaseDatabaseWrapper) -> Sql:
        """What stands before a table on SQLite, where the keys are beside it: a table of them."""
        if is_one(self.rhs):
            return "", []
        return f"{BESIDE} CROSS JOIN ", [self._parameter(self._json, connection)]

    def _path(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        path, parameters = self.process_lhs(compiler, connection)
        # An expression finds no rows by an index. Nor does SQLite convert what it is compared with to the type of the
        # column; and PostgreSQL has this one of numbers only.
        if connection.vendor == "postgresql":
            can_be_hidden = self._column.cast_db_type(connection) in BITS
        else:
            can_be_hidden = self._kind is not None
        return f"+{path}" if can_be_hidden and not self._leads else path, list(parameters)

    def _in_query(
        self, path: str, parameters: Iterable[Any], compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> Sql:
        query, its_parameters = self.process_rhs(compiler, connection)
        return f"{path} IN {query}", [*parameters, *its_parameters]

    @property
    def _column(self) -> Any:
        field = self.lhs.output_field
        return getattr(field, "target_field", field)

    @property
    def _kind(self) -> type | None:
        """Of ``KINDS``; None where another field, or code of the application's, makes something else of keys, or has
        them in a column of another type."""
        column = type(self._column)
        makers = (*(column.get_prep_value, column.get_db_prep_value), *(getattr(column, name) for name in TYPED_BY))
        is_own = all(getattr(maker, "__module__", "").startswith("django.db.models.") for maker in makers)
        return next((kind for kind in KINDS if is_own and issubclass(column, kind)), None)

    def _parameter(self, prepare: Prepare, connection: BaseDatabaseWrapper) -> Any:
        return replace(self.rhs, prepare=prepare) if isinstance(self.rhs, Parameter) else prepare(self.rhs, connection)

    def _one(self, keys: Collection[Any], connection: BaseDatabaseWrapper) -> Any:
        [key] = self._prepared(keys, connection, {IntegerField: int})
        return key if fits(key, 63) else NO_NUMBER

    def _json(self, keys: Collection[Any], connection: BaseDatabaseWrapper) -> str:
        numbers = self._numbers(keys, 63)
        return f"[{numbers or written(fitting(self._prepared(keys, connection, {IntegerField: int}), 63))}]"

    def _array(self, keys: Collection[Any], connection: BaseDatabaseWrapper) -> list[Any] | str:
        bits = BITS.get(self._column.cast_db_type(connection))
        if bits and (numbers := self._numbers(keys, bits)):
            return f"{{{numbers}}}"  # psycopg would write one after the other
        prepared = self._prepared(keys, connection, {IntegerField: int, UUIDField: UUID})
        return prepared if bits is None else fitting(prepared, bits)

    def _numbers(self, keys: Collection[Any], bits: int) -> str:
        """The keys as a text; '' where they are not known to be integers."""
        return numbers_of(frozenset(keys), bits) if self._kind is IntegerField else ""

    def _prepared(
        self, keys: Collection[Any], connection: BaseDatabaseWrapper, known: Mapping[type | None, type]
    ) -> list[Any]:
        """The keys as the database has them. Most are so already: of the type that it knows for such a field."""
        if set(map(type, keys)) == {known.get(self._kind)}:
            return list(keys)
        prepare = self.lhs.output_field.get_db_prep_value
        return [prepare(key, connection) for key in keys if key is not None]


class Keyed(BaseTable):
    """The table from which rows are found by keys; on SQLite, the keys are a table beside it."""

    def __init__(self, table: BaseTable, among: Among) -> None:
        super().__init__(table.table_name, table.table_alias)
        self.among = among

    def relabeled_clone(self, change_map: dict[str | None, str]) -> Keyed:
        return Keyed(BaseTable(self.table_name, self.table_alias).relabeled_clone(change_map), self.among)

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> Sql:
        keys, parameters = self.among.beside(connection)
        table, _ = self.as_sql(compiler, connection)
        return f"{keys}{table}", parameters


def keyed(rows: QuerySet[Any, Any], path: str, keys: Collection[Any] | Parameter) -> QuerySet[Any, Any]:
    """Those of the rows that have one of these keys in a column: what ``Among`` finds. SQLite goes from key to key; for
    ``IN`` it would sort them into a table first.

    Raises ValueError for rows that are found so already.
    """
    found = rows.all()
    query: Any = found.query
    among = Among(path, keys, are_beside=True).resolve_expression(query)
    table = query.alias_map[query.base_table]
    if isinstance(table, Keyed):
        raise ValueError("There can be one table of keys in a query only.")
    query.where.add(among, AND)
    query.alias_map[query.base_table] = Keyed(table, among)
    return found


@lru_cache(KNOWN)
def numbers_of(keys: frozenset[Any], bits: int) -> str:
    """Those of the keys that fit, as a text; '' where some are no integers. Of the same users it is asked again and
    again."""
    return written(fitting(list(keys), bits)) if set(map(type, keys)) == {int} else ""


def written(keys: list[Any]) -> str:
    return orjson.dumps(keys)[1:-1].decode()


def fitting(keys: list[Any], bits: int) -> list[Any]:
    """Those of the keys that fit."""
    if set(map(type, keys)) == {int} and fits(min(keys), bits) and fits(max(keys), bits):
        return keys
    return [key for key in keys if fits(key, bits)]


def fits(key: Any, bits: int) -> bool:
    """Whether a column can hold it that has so many bits beside the sign; what is no integer is none of its matters."""
    return not isinstance(key, int) or -1 << bits <= key < 1 << bits
