"""Choices: which part of the register is meant by what somebody wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured, ValidationError

from ...serializers.hashids import InvalidHashid
from .objects import instance_of
from .people import ANONYMOUS, keys_named, nameless, primary_key

if TYPE_CHECKING:
    from django.db.models import Model


def chosen(*, user: str = "", instance: str = "", tenant: str = "", socket: str = "") -> dict[str, Any]:
    """What ``Register.of`` takes, for these texts; '' is no choice. A user by name, ``(anonymous)`` for who is; an
    instance as ``board.Card:7sd8f``, with the id that clients have; a tenant as ``board.Organization:5``, with its
    primary key; a socket by its name.

    Raises ValueError, with a sentence, for what names nothing.
    """
    return {
        "user": user_called(user) if user else None,
        "instance": instance_called(instance) if instance else None,
        "tenant": tenant_called(tenant) if tenant else None,
        "socket": socket or None,
    }


def user_called(name: str) -> Any:
    if name == nameless(ANONYMOUS):
        return AnonymousUser()
    for key in keys_named(name):
        return get_user_model()(pk=primary_key(key))
    raise ValueError(f"There is no user {name}.")


def instance_called(name: str) -> Model:
    model, hashid = model_in(name)
    try:
        return instance_of(model, hashid)
    except (InvalidHashid, ImproperlyConfigured) as error:
        raise ValueError(f"{hashid} is not the id of any {model._meta.label}.") from error


def tenant_called(name: str) -> Model:
    model, key = model_in(name)
    try:
        return model(pk=model._meta.pk.to_python(key))
    except ValidationError as error:
        raise ValueError(f"{key} is not the primary key of any {model._meta.label}.") from error


def model_in(name: str) -> tuple[type[Model], str]:
    label, _, rest = name.partition(":")
    try:
        return apps.get_model(label), rest
    except (LookupError, ValueError) as error:
        raise ValueError(f"There is no model {label}.") from error
