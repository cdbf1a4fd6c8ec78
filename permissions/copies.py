"""Copies of an instance, and seals that tell whether something was left on one.

Application code keeps things on the instances that it is given, for one viewer. Nothing of that may reach another.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from operator import is_
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import Model, QuerySet
from django.db.models.base import ModelState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# What can't be changed, and may be shared.
ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, memoryview, range, Decimal, UUID}
    | {date, datetime, time, timedelta, timezone, ZoneInfo}
    | {IPv4Address, IPv6Address, IPv4Interface, IPv6Interface}
)
# What is looked into by its elements.
CONTAINERS = (dict, list, set, tuple, frozenset)
PREFETCHED = "_prefetched_objects_cache"


def own_copy(instance: Model) -> Model:
    """A copy that shares nothing with the instance, related instances that were fetched with it included."""
    return own_copies([instance])[0]


def own_copies(instances: Sequence[Model]) -> list[Model]:
    fetched = list(fetched_with(instances))
    memo: dict[int, Any] = {id(one): type(one).__new__(type(one)) for one in fetched}
    for one in fetched:
        vars(memo[id(one)]).update(vars(one))  # all at first, for a set of instances asks each for its key
    for one in fetched:
        twin = memo[id(one)]
        for name, value in vars(one).items():
            if type(value) not in ATOMS:
                vars(twin)[name] = duplicate(value, memo)
        for name, queryset in vars(one).get(PREFETCHED, {}).items():
            # Copied querysets have forgotten what they had fetched.
            if queryset._result_cache is not None:
                vars(twin)[PREFETCHED][name]._result_cache = [memo[id(related)] for related in queryset._result_cache]
    return [memo[id(instance)] for instance in instances]


def duplicate(value: Any, memo: dict[int, Any]) -> Any:
    if type(value) is ModelState:  # as deepcopy does it, at a third of the cost
        state = ModelState()
        vars(state).update(vars(value), fields_cache=deepcopy(value.fields_cache, memo))
        return state
    return deepcopy(value, memo)


def fetched_with(instances: Iterable[Model]) -> Iterator[Model]:
    """The instances, and all that can be reached from them without asking the database."""
    pending, seen = list(instances), set()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        for related in relations_held(one).values():
            pending += related


def relations_held(instance: Model) -> dict[str, list[Model]]:
    """The related instances that an instance holds, by the name of the relation."""
    held = {name: [one] for name, one in instance._state.fields_cache.items() if isinstance(one, Model)}
    held |= {name: models_in(queryset._result_cache) for name, queryset in vars(instance).get(PREFETCHED, {}).items()}
    held |= {name: models_in(value) for name, value in vars(instance).items() if isinstance(value, Model | list)}
    return held


def models_in(value: Any) -> list[Model]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Model)]


def paths_held(instances: Iterable[Model], within: str = "", above: frozenset[int] = frozenset()) -> set[str]:
    """The relations that were fetched, as ``prefetch_related`` names them."""
    paths: set[str] = set()
    for instance in instances:
        for name, one in instance._state.fields_cache.items():
            if isinstance(one, Model) and id(one) not in above:
                path = f"{within}{name}"
                paths |= {path, *paths_held([one], f"{path}__", above | {id(instance)})}
    return paths


class Seal:
    """Tells whether anything was left on an instance, or on what was fetched with it, since it was sealed.

    Looks at every dict, list and set that can be reached: what is new is in one of them. By identity, so that
    nothing passes for unchanged because it is equal.
    """

    def __init__(self, instance: Model) -> None:
        self._dicts: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
        self._lists: list[tuple[list[Any], list[Any]]] = []
        self._sets: list[tuple[set[Any], set[Any]]] = []
        self._is_blind = False  # there is something that can't be looked into
        self._cover(instance, set())

    def _cover(self, value: Any, seen: set[int]) -> None:
        pending = [value]
        while pending:
            one = pending.pop()
            if type(one) in ATOMS or type(one) is object or isinstance(one, type) or id(one) in seen:
                continue
            seen.add(id(one))
            if issubclass(type(one), dict):  # asked as a dict, for one of another class may tell only a part of it
                self._dicts.append((one, dict.copy(one)))
                pending += [*dict.keys(one), *dict.values(one)]
            elif isinstance(one, list):
                self._lists.append((one, one.copy()))
                pending += one
            elif isinstance(one, set):
                self._sets.append((one, one.copy()))
                pending += one
            elif isinstance(one, tuple | frozenset):
                pending += one
            if isinstance(one, QuerySet):
                one.query  # noqa: B018  # whoever reads it first adds a filter that Django had put off
                self._dicts.append((vars(one), vars(one).copy()))
                pending.append(one._result_cache)
                continue
            self._is_blind |= has_slots(type(one))  # type: ignore[arg-type]  # mypy takes no class of Any for hashable
            if hasattr(one, "__dict__"):
                pending.append(vars(one))
            elif not callable(one) and not isinstance(one, (*ATOMS, *CONTAINERS)):
                self._is_blind = True

    @property
    def is_broken(self) -> bool:
        return self._is_blind or not (
            all(len(now) == len(then) and all(map(is_, now, then)) for now, then in self._lists)
            and all(
                dict.__len__(now) == len(then)
                and all(map(is_, dict.keys(now), then))
                and all(map(is_, dict.values(now), then.values()))
                for now, then in self._dicts
            )
            and all(set(map(id, now)) == set(map(id, then)) for now, then in self._sets)
        )


@lru_cache(maxsize=1_000)
def has_slots(kind: type) -> bool:
    """Whether instances of a class keep in slots what can be changed."""
    slots = (vars(one).get("__slots__", ()) for one in kind.__mro__ if one not in ATOMS)
    return any(set(names) - {"__dict__", "__weakref__"} for names in slots)
