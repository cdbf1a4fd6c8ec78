"""Objects: how instances are named in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db.models import Model, Q

from ...serializers.hashids import InvalidHashid, decode, key_field
from ..notifications import key_in
from ..publications import all_publications, relatives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..publications import Publication


def named(instance: Model) -> Q:
    """The entries about an instance: those of all publications that it may be shown in, each under its label and with
    its key there. It needs no more than a primary key, and may be gone.

    Raises what ``shown_in`` raises.
    """
    labels: dict[str, list[str]] = {}
    for publication, key in shown_in(instance):
        labels.setdefault(text_of(publication.model, key), []).append(publication.label)
    about = Q()
    for key, some in labels.items():
        about |= Q(model__in=sorted(set(some)), key=key)
    return about


def shown_in(instance: Model) -> list[tuple[Publication, Any]]:
    """The publications that an instance may be shown in, each with its primary key there.

    Raises TypeError for what is no model instance, ValueError for one without a primary key, LookupError for one
    that no publication shows.
    """
    if not isinstance(instance, Model):
        raise TypeError(f"This takes a model instance, not {type(instance).__name__}.")
    if instance.pk is None:
        raise ValueError(f"This {type(instance).__name__} was never saved: nobody has seen it.")
    found = []
    for publication in relatives(type(instance)):
        key = key_in(publication.model, instance)
        # One that was made by its key alone has not that of its parents.
        found.append((publication, instance.pk if key is None else key))
    if not found:
        raise LookupError(f"{instance._meta.label} is not published: nothing of it is shown, or on record.")
    return found


def text_of(model: type[Model], key: Any) -> str:
    """A primary key as the ledger has it."""
    return str(key_field(model).to_python(key))


def instance_of(model: type[Model], hashid: str) -> Model:
    """An instance that has nothing but the primary key that a hashid stands for.

    Raises InvalidHashid where it stands for none.
    """
    return model(pk=decode(model, hashid))


def called(word: str) -> Iterator[Q]:
    """The entries about whatever goes by a word: the hashid of an instance of any publication, also where that is none,
    or a primary key."""
    for publication in all_publications():
        model, label = publication.model, publication.label
        try:
            yield Q(model=label, key=text_of(model, decode(model, word)))
        except InvalidHashid:
            yield Q(model=label, key="", hashid=word)
        try:
            yield Q(model=label, key=text_of(model, word))
        except ValidationError:
            continue
