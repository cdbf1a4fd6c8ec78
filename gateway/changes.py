"""What counts as a change: creates, deletes, and saves that changed a watched field."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models.signals import post_delete, post_save, pre_save
from model_utils import FieldTracker

from ..serializers.hashids import encode
from .notifications import announce, key_in
from .publications import relatives
from .trail import note_unwatched

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from django.db.models import Model
    from model_utils.tracker import FieldInstanceTracker

# On an instance: the last save that was begun and has not been seen to commit. What the instance has in memory says
# nothing about what the database has, so its next save counts whatever a tracker says.
UNSETTLED = "_livegate_unsettled"
# On an instance, during its save: the watched values that the database had before.
BEFORE = "_livegate_before"


@contextmanager
def saving(instance: Model, update_fields: Collection[str] | None) -> Iterator[None]:
    """Around the ``save_base`` of a model that gives its own notice.

    A tracker is reset when a save fails or is rolled back, and would call the retry unchanged. So an instance is
    unsettled from the beginning of a save until its commit, and the save of an unsettled instance counts.
    """
    created = instance._state.adding
    doubt = vars(instance).get(UNSETTLED)
    begun = object()
    setattr(instance, UNSETTLED, begun)
    yield

    def settle() -> None:
        # A later save may have been begun, and undone, meanwhile; one that wrote a few fields says nothing of others.
        if vars(instance).get(UNSETTLED) is begun and (doubt is None or update_fields is None):
            setattr(instance, UNSETTLED, None)

    if created or doubt is not None or tracked_change(instance, update_fields):
        announce("create" if created else "update", [instance], settle=settle)
    else:
        settle()
        note_unchanged(instance, tracked_fields(instance), update_fields)


def note_unchanged(instance: Model, watched: Collection[str], update_fields: Collection[str] | None) -> None:
    """Remember, for who asks why nothing was told, that this save was no change. No error of it reaches who saves."""
    with suppress(Exception):
        for publication in relatives(type(instance)):
            hashid = encode(publication.model, key_in(publication.model, instance))
            note_unwatched(publication.label, hashid, watched, update_fields)


def tracked_fields(instance: Model) -> list[str]:
    return sorted({field for name in tracker_names(type(instance)) for field in getattr(instance, name).fields})


def tracked_change(instance: Model, update_fields: Collection[str] | None) -> bool:
    """Whether a field that the model tracks changed and was written. Without a tracker, every save is a change."""
    names = tracker_names(type(instance))
    return not names or any(
        written(instance, field, update_fields) and moved(instance, state, field)
        for state in (getattr(instance, name) for name in names)
        for field in state.fields
    )


def tracker_names(model: type[Model]) -> list[str]:
    """The attributes under which a model has FieldTrackers."""
    return sorted(
        {name for base in model.__mro__ for name, held in vars(base).items() if isinstance(held, FieldTracker)}
    )


def written(instance: Model, field: str, update_fields: Collection[str] | None) -> bool:
    """Whether a save with these ``update_fields`` writes the field, that may be named ``owner`` or ``owner_id``."""
    if update_fields is None:
        return True
    known = [{column.name, column.attname} for column in instance._meta.concrete_fields]
    return any(field in names and not names.isdisjoint(update_fields) for names in known)


def moved(instance: Model, state: FieldInstanceTracker, field: str) -> bool:
    """Whether a tracked field differs from what was loaded or saved last. What a saved ``F()`` or the like became is
    not known, and counts; as does what can't be compared: no error of ours reaches the one who saves."""
    try:
        return is_expression(vars(instance).get(state.field_map[field])) or state.has_changed(field)
    except Exception:
        return True


def is_expression(value: object) -> bool:
    return hasattr(value, "resolve_expression")


def watch_published(gives_own_notice: type[Model]) -> None:
    """Watch the saves and deletes of every published model, and of the models that share its rows.

    Of models that inherit ``gives_own_notice`` only what they don't see themselves: deletes, and fixtures.
    """
    for model in apps.get_models(include_auto_created=True):
        if any(True for _ in relatives(model)):
            post_delete.connect(after_delete, sender=model)
            if issubclass(model, gives_own_notice):
                post_save.connect(after_fixture, sender=model)
            else:
                pre_save.connect(before_save, sender=model)
                post_save.connect(after_save, sender=model)


def before_save(
    sender: type[Model],
    instance: Model,
    raw: bool,
    using: str,
    update_fields: Collection[str] | None,
    **_: Any,
) -> None:
    """Read what the watched fields are in the database, unless this save will count anyway."""
    vars(instance).pop(BEFORE, None)
    watched = watched_fields(sender)
    if raw or watched is None or instance._state.adding:
        return
    names = [name for name in watched if written(instance, name, update_fields)]
    row = sender._base_manager.using(using).filter(pk=instance.pk).values(*names).first() if names else {}
    setattr(instance, BEFORE, row)


def after_save(
    sender: type[Model], instance: Model, created: bool, update_fields: Collection[str] | None, **_: Any
) -> None:
    before = vars(instance).pop(BEFORE, None)
    if before is None or any(differs(instance, name, value) for name, value in before.items()):
        announce("create" if created else "update", [instance])
    else:
        note_unchanged(instance, watched_fields(sender) or (), update_fields)


def after_fixture(sender: type[Model], instance: Model, raw: bool, **_: Any) -> None:
    """loaddata calls ``save_base`` past the model's own; whatever it loads counts."""
    if raw:
        announce("update", [instance])


def after_delete(sender: type[Model], instance: Model, using: str, **_: Any) -> None:
    announce("delete", [instance], using=using)  # the instance may have been read from a replica


def watched_fields(model: type[Model]) -> list[str] | None:
    """The attribute names of the fields of a model that publications watch; None where every save counts."""
    publications = list(relatives(model))
    if any(publication.watch is None for publication in publications):
        return None
    watched = {name for publication in publications for name in publication.watch or ()}
    return [field.attname for field in model._meta.concrete_fields if watched & {field.name, field.attname}]


def differs(instance: Model, name: str, before: Any) -> bool:
    """Whether what was saved in a field is another value than before; what can't be compared is."""
    value = getattr(instance, name)
    try:
        return is_expression(value) or instance._meta.get_field(name).to_python(value) != before  # type: ignore[union-attr]
    except Exception:
        return True
