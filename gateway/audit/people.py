"""People: how users are named in the ledger, and what their names are today."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError

from ...permissions.lookups import Among

if TYPE_CHECKING:
    from collections.abc import Iterable

ANONYMOUS = ""


def key_of(user: Any) -> str:
    """What stands for a user in entries: the primary key as a text, '' for one who is anonymous.

    Raises TypeError for what is no user, ValueError for one without a primary key.
    """
    if isinstance(user, AnonymousUser):
        return ANONYMOUS
    if not isinstance(user, get_user_model()):
        raise TypeError(f"This takes a {get_user_model().__name__} or an AnonymousUser, not {type(user).__name__}.")
    if user.pk is None:
        raise ValueError(f"This {type(user).__name__} was never saved: nothing was shown to them.")
    return str(user.pk)


def names_of(keys: Iterable[str]) -> dict[str, str]:
    """The usernames of those of these users who still exist, by what stands for them; one query."""
    users: Any = get_user_model()
    known = {key: pk for key in set(keys) if (pk := primary_key(key)) is not None}
    found = users._base_manager.filter(Among("pk", set(known.values()))) if known else users._base_manager.none()
    names = dict(found.values_list("pk", users.USERNAME_FIELD))
    return {key: str(names[pk]) for key, pk in known.items() if pk in names}


def nameless(key: str) -> str:
    """How one who has no name is called: no username has parentheses."""
    return "(anonymous)" if key == ANONYMOUS else f"(gone: {key})"


def keys_named(name: str) -> list[str]:
    """What stands for the user of this name today; nothing where there is none."""
    users: Any = get_user_model()
    return [str(pk) for pk in users._base_manager.filter(**{users.USERNAME_FIELD: name}).values_list("pk", flat=True)]


def primary_key(key: str) -> Any:
    """The primary key that a text is of, None where it can be none."""
    field = get_user_model()._meta.pk
    try:
        value = field.to_python(key) if key else None
        field.run_validators(value)
    except ValidationError:
        return None
    return value
