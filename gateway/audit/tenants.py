"""Tenants: who belongs to one, as the permissions of the publications have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model

from ..publications import all_publications

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model


def users_of(tenant: Model) -> set[str]:
    """What stands for the users who belong to a tenant: those from whom a path that permissions follow from the viewer
    (``same_tenant``) leads to it.

    Raises TypeError for what is no model instance, LookupError where no permission leads to any instance of its model.
    """
    users: Any = get_user_model()
    if not hasattr(tenant, "_meta"):
        raise TypeError(f"This takes a model instance, not {type(tenant).__name__}.")
    paths = set(paths_to(type(tenant)))
    if not paths:
        raise LookupError(f"No permission of a publication goes from its viewer to a {tenant._meta.label}.")
    found = [users._base_manager.filter(**{path: tenant.pk}).values_list("pk", flat=True) for path in sorted(paths)]
    return {str(key) for keys in found for key in keys}


def paths_to(model: type[Model]) -> Iterator[str]:
    """The paths, as querysets take them, by which permissions go from a user to instances of this model."""
    for publication in all_publications():
        for path in publication.reads_of_user:
            steps = list(fields_along(get_user_model(), path))
            ends = steps[-1].related_model if steps and steps[-1] is not None else None
            if ends is not None and ends._meta.concrete_model is model._meta.concrete_model:
                yield "__".join(step.name for step in steps)


def fields_along(model: Any, path: str) -> Iterator[Any]:
    """The fields and relations on a path of attributes; None at its end where one of them is none."""
    for name in path.split("__"):
        fields = () if model is None else model._meta.get_fields()
        step = next((one for one in fields if name in names_of(one)), None)
        yield step
        if step is None:
            return
        model = step.related_model


def names_of(field: Any) -> set[str]:
    """By which attributes it is reached."""
    if field.auto_created and not field.concrete:
        return {field.get_accessor_name()}
    return {field.name, getattr(field, "attname", field.name)}
