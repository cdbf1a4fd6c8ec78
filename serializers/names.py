"""Names: which fields a payload shows, and never what they hold."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rest_framework.fields import ListField
from rest_framework.serializers import BaseSerializer, ListSerializer

if TYPE_CHECKING:
    from collections.abc import Iterator


def names_in(serializer: Any, body: bytes) -> tuple[str, ...]:
    """The names in a payload, in their order; those in a nested serializer as ``owner.email``, of lists as well.

    ``serializer`` is the class that made it, or None. At the top, whatever is named there; within that, what a
    serializer declares: the keys of a JSONField's or a dict's data are values. No names where the payload is no object.
    """
    data = json.loads(body)
    if not isinstance(data, dict):
        return ()
    names: dict[str, None] = {}
    fields = fields_in(example(serializer))
    for name, value in data.items():
        names[name] = None
        names |= dict.fromkeys(names_within(fields.get(name), value, f"{name}."))
    return tuple(names)


def names_within(field: Any, value: Any, prefix: str) -> Iterator[str]:
    """The names of what a field shows, if it is a serializer."""
    while isinstance(field, ListSerializer | ListField):
        field = field.child
        parts = value if isinstance(value, list) else ()  # it may show something else than a list
        value = [one for part in parts for one in (part if isinstance(part, list) else [part])]
    for part in value if isinstance(value, list) else [value]:
        for name, nested in fields_in(field).items():
            if isinstance(part, dict) and name in part:
                yield f"{prefix}{name}"
                yield from names_within(nested, part[name], f"{prefix}{name}.")


@lru_cache(maxsize=1_000)
def example(serializer: Any) -> Any:
    """A serializer of a class, that is asked for nothing but its fields; None where it can't be made of nothing."""
    with suppress(Exception):
        return serializer()
    return None


def fields_in(serializer: Any) -> dict[str, Any]:
    """The fields of a serializer by name; none where they can't be told without a viewer."""
    if isinstance(serializer, BaseSerializer):
        with suppress(Exception):
            return dict(serializer.fields)  # type: ignore[attr-defined]  # a BaseSerializer may have none
    return {}
