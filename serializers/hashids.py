"""Hashids: how primary keys are written on the wire, another way for each model."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db.models import Field, ForeignKey, IntegerField, UUIDField
from hashids import Hashids

from .settings import setting

if TYPE_CHECKING:
    from django.db.models import Model

# Decoding is quadratic in the length. A UUID takes 26 characters without padding.
MAX_LENGTH = 64
LARGEST_KEY = 2**63 - 1
LARGEST_UUID = 2**128 - 1


class InvalidHashid(ValueError):
    """The text is not the hashid of any instance of the model."""


def encode(model: type[Model], pk: Any) -> str:
    """The hashid of a primary key of a model: at least ``HASHID_MIN_LENGTH`` letters and digits.

    Raises ValueError for a key that no saved instance has (None, negative).
    """
    try:
        key = key_field(model).to_python(pk)
    except ValidationError:
        key = None
    # A UUID is written as the one number that it is; encode_hex would cut it into several.
    uuid = is_uuid(model)
    number = key.int if isinstance(key, UUID) else key
    known = isinstance(number, int) and number <= (LARGEST_UUID if uuid else LARGEST_KEY)
    hashid = written(codec_of(model), number) if known else ""
    if not hashid:
        raise ValueError(f"{model._meta.label} has no hashid for a primary key of type {type(pk).__name__}.")
    return hashid


def decode(model: type[Model], hashid: str) -> int | UUID:
    """The primary key that a hashid of a model stands for.

    Only the one spelling that ``encode`` gives is accepted. Raises InvalidHashid for everything else: another
    model's, several numbers, more than 64 characters, a number that no key can be.
    """
    codec = codec_of(model)
    is_text = isinstance(hashid, str) and len(hashid) <= MAX_LENGTH
    # Each time anew: who asks is not to be told by the time that it takes whether others have asked for the same.
    numbers: tuple[int, ...] = codec.decode(hashid) if is_text else ()
    if len(numbers) != 1:
        raise InvalidHashid("not one number")
    number, uuid = numbers[0], is_uuid(model)
    if number > (LARGEST_UUID if uuid else LARGEST_KEY):
        raise InvalidHashid("not a key")
    return UUID(int=number) if uuid else number


def codec_of(model: type[Model]) -> Hashids:
    salt = setting("HASHID_SALT")
    if not salt:
        raise ImproperlyConfigured(
            'LIVEGATE["HASHID_SALT"] is not set. Set it to a long random text of its own: not SECRET_KEY, and '
            "the same for all processes, because ids on the wire change with it."
        )
    # Hashids reads no more than the first 45 characters of a salt, where a long one would leave no room for the label.
    mixed = blake2b(f"{salt}:{model._meta.label_lower}".encode()).hexdigest()
    return codec(mixed, setting("HASHID_MIN_LENGTH"))


@lru_cache(maxsize=1024)
def codec(salt: str, min_length: int) -> Hashids:
    return Hashids(salt=salt, min_length=min_length)


@lru_cache(maxsize=10_000)  # what is shown to many viewers is written for each of them
def written(by: Hashids, number: int) -> str:
    hashid: str = by.encode(number)
    return hashid


def is_uuid(model: type[Model]) -> bool:
    """Whether the model's keys are UUIDs rather than integers; raises for a kind that hashids can't write."""
    key = key_field(model)
    if isinstance(key, UUIDField):
        return True
    if isinstance(key, IntegerField):
        return False
    raise ImproperlyConfigured(
        f"{model._meta.label} has a {type(key).__name__} as primary key; "
        "hashids stand for integers and UUIDs only. Give the model such a key to publish it."
    )


def key_field(model: type[Model]) -> Field[Any, Any]:
    """The primary key's field; where the key is a relation to another model, that one's."""
    key: Field[Any, Any] = model._meta.pk
    while isinstance(key, ForeignKey):
        key = key.target_field
    return key
