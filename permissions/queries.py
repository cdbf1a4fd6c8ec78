"""Queries that are asked again and again: their SQL is written once, and only the keys in it differ.

For Django to build a query and to write its SQL takes ten times as long as to ask it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Manager, QuerySet
from django.db.models.query import ModelIterable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models import Model
    from django.db.models.manager import BaseManager

    Build = Callable[..., QuerySet[Any, Any]]
    Prepare = Callable[[Collection[Any], BaseDatabaseWrapper], Any]

# Where ``Among`` writes many keys as one parameter, so that the SQL is the same for any number of them.
ONE_PARAMETER = ("sqlite", "postgresql")
# By what a manager is asked for rows.
ASKED = {name for name in {*dir(Manager), *dir(QuerySet)} if not name.startswith("__")} - {
    *("use_in_migrations", "auto_created", "creation_counter"),
    *vars(Manager()),
}


@dataclass(frozen=True)
class Parameter:
    """Stands in a query for keys that are not known yet, or for the one key. ``prepare`` makes of them what a database
    takes."""

    name: str
    is_one: bool = False
    prepare: Prepare | None = None


@dataclass(frozen=True)
class Query:
    """The SQL of a ``values_list`` queryset, for one database."""

    using: str
    sql: str
    parameters: Sequence[Any]
    # How Django makes the values of a column, by its position: functions, and the expression that they are about.
    converters: Mapping[int, tuple[Sequence[Callable[..., Any]], Any]]

    @classmethod
    def of(cls, queryset: QuerySet[Any, Any], using: str) -> Query:
        compiler = queryset.query.get_compiler(using)
        sql, parameters = compiler.as_sql()
        return cls(using, sql, parameters, compiler.get_converters([column for column, *_ in compiler.select]))

    def rows(self, keys: Mapping[str, Collection[Any]]) -> list[list[Any]]:
        connection = connections[self.using]
        given = [
            one.prepare(keys[one.name], connection) if isinstance(one, Parameter) and one.prepare else one
            for one in self.parameters
        ]
        with connection.cursor() as cursor:
            cursor.execute(self.sql, given)
            rows = [list(row) for row in cursor.fetchall()]
        for position, (functions, expression) in self.converters.items():
            for row in rows:
                for convert in functions:
                    row[position] = convert(row[position], expression, connection)
        return rows


def rows_of(build: Build, *about: Any, is_stable: bool, **keys: Collection[Any]) -> list[Any]:
    """The rows of ``build(*about, **keys)``, which gives a ``values_list`` queryset that looks for the keys by
    ``Among``; one query.

    It is built once for one key and once for any other number of them, where it ``is_stable``: where it depends on
    nothing but what it is ``about``.
    """
    query = written(build, about, keys) if is_stable else None
    return list(build(*about, **keys)) if query is None else query.rows(keys)


def instances_of(build: Build, *about: Any, is_stable: bool, **keys: Collection[Any]) -> list[Any]:
    """The same for a queryset of instances. Where it does nothing but find them, their fields are read as such rows, of
    which the model makes instances."""
    model = bare_model(build, about, parameters_for(keys)) if is_stable else None
    query = written(as_rows, (build, *about), keys) if model else None
    if model is None or query is None:
        return list(build(*about, **keys))
    names = field_names(model)
    return [model.from_db(query.using, names, row) for row in query.rows(keys)]


def written(build: Build, about: tuple[Any, ...], keys: Mapping[str, Collection[Any]]) -> Query | None:
    """The query, where it can be the same for any keys."""
    parameters = parameters_for(keys)
    using = template(build, about, parameters).db  # which a router may decide anew each time
    return query_of(build, about, parameters, using) if connections[using].vendor in ONE_PARAMETER else None


def parameters_for(keys: Mapping[str, Collection[Any]]) -> tuple[Parameter, ...]:
    return tuple(Parameter(name, is_one(those)) for name, those in keys.items())


def as_rows(build: Build, *about: Any, **keys: Any) -> QuerySet[Any, Any]:
    found = build(*about, **keys)
    return found.values_list(*field_names(found.model))


def field_names(model: type[Model]) -> list[str]:
    return [field.attname for field in model._meta.concrete_fields]


def is_bare(found: QuerySet[Any, Any]) -> bool:
    """Whether a queryset gives the instances that it finds with all their fields, and with nothing else; and it is
    Django alone that writes how these are read."""
    has, query = vars(found), found.query
    return (
        type(found) is QuerySet
        and found._iterable_class is ModelIterable
        and not (has["_prefetch_related_lookups"] or has["_known_related_objects"])
        and not (query.select_related or query.annotations or query.extra or query.combinator)
        and query.deferred_loading == (frozenset(), True)
        and all(map(is_read_as_ever, found.model._meta.concrete_fields))
    )


def is_read_as_ever(field: Any) -> bool:
    """Whether a field is read by the same SQL each time: one of the application's may put a key or a tenant into it."""
    makers = (getattr(type(field), name) for name in ("select_format", "get_col", "get_db_converters"))
    return all(maker.__module__.startswith("django.db.models.") for maker in makers)


def is_one(keys: Collection[Any] | Parameter) -> bool:
    return keys.is_one if isinstance(keys, Parameter) else len(keys) == 1 and None not in keys


@lru_cache(maxsize=1_000)
def bare_model(build: Build, about: tuple[Any, ...], parameters: tuple[Parameter, ...]) -> type[Model] | None:
    """The model of the instances, where the queryset gives them bare."""
    found = template(build, about, parameters)
    return found.model if is_bare(found) else None


@lru_cache(maxsize=1_000)
def template(build: Build, about: tuple[Any, ...], parameters: tuple[Parameter, ...]) -> QuerySet[Any, Any]:
    return build(*about, **{parameter.name: parameter for parameter in parameters})


@lru_cache(maxsize=1_000)
def query_of(build: Build, about: tuple[Any, ...], parameters: tuple[Parameter, ...], using: str) -> Query:
    return Query.of(template(build, about, parameters), using)


def is_plain(manager: BaseManager[Any]) -> bool:
    """Whether a manager gives all rows of its model, whenever it is asked: nothing by which it is asked is another's
    than Django's. One of the application's may give those of today."""
    kinds = [kind for kind in type(manager).__mro__ if kind not in Manager.__mro__]
    return not any(not vars(one).keys().isdisjoint(ASKED) for one in (*kinds, manager))
