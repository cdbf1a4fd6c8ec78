"""Access: notices of what changes who may see what, and who may be connected.

Django's and guardian's signals tell most of it. What no signal tells is told by ``access_changed``, and else noticed by
the sweep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.auth.signals import user_logged_out
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldDoesNotExist
from django.db import DEFAULT_DB_ALIAS, router
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save
from guardian.conf import settings as guardian_settings
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from ..serializers.hashids import encode
from .logs import report
from .notices import Notice, token_of_session, token_of_user
from .notifications import notices_of, post_after_commit
from .publications import all_publications, relatives

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

# Of a change that concerns more users than this, one notice is given, to all.
MOST_USERS = 100
# What concerns everybody, whatever they watch.
EVERYBODY = [Notice("access")]


def access_changed(*, user: Any = None, group: Any = None, instance: Model | None = None) -> None:
    """Say that rights changed that no signal tells of: by ``queryset.update()``, ``assign_perm`` for many at once, raw
    SQL, or in a table of your own that a permission reads.

    ``user``: what they watch is evaluated, and whether they may be connected. ``instance``: whatever is shown of it,
    to everyone or to that user. ``group``: whatever anyone watches, for who its members were is not known. As soon as
    the transaction commits, if there is one, and from anywhere, as ``notify``; to call it needlessly does no harm.

    Raises TypeError where nothing is named, or what is no user, group or instance; ValueError for one never saved.
    """
    named = [one for one in (user, group, instance) if one is not None]
    if not named:
        raise TypeError("access_changed() takes a user, a group or an instance, by name.")
    for one in named:
        if not isinstance(one, Model):
            raise TypeError(f"access_changed() takes saved instances, not {type(one).__name__}.")
        if one.pk is None:
            raise ValueError(f"access_changed() was given a {type(one).__name__} that was never saved.")
    if user is not None and not isinstance(user, get_user_model()):
        raise TypeError(f"access_changed(user=…) takes a {get_user_model().__name__}, not {type(user).__name__}.")
    token = "" if user is None else token_of(user)
    if group is not None:
        notices = EVERYBODY
    elif instance is not None:
        notices = [Notice("access", one.label, one.hashid, token) for one in notices_of("access", instance)]
    else:
        notices = [Notice("access", token=token)]
    post_after_commit(notices, router.db_for_write(type(named[-1]), instance=named[-1]))


async def aaccess_changed(*, user: Any = None, group: Any = None, instance: Model | None = None) -> None:
    """``access_changed`` from async code."""
    await database_sync_to_async(access_changed)(user=user, group=group, instance=instance)


def token_of(user: Any) -> str:
    """What stands for a user in notices; the one whom guardian keeps for those who are anonymous stands for all, as
    they are not told apart."""
    anonymous = user.get_username() == guardian_settings.ANONYMOUS_USER_NAME
    return "" if anonymous else token_of_user(user.pk)


def tell(make: Callable[[], Iterable[Notice]], using: str) -> None:
    """Post notices when the transaction commits; no error of ours reaches the one who saves."""
    try:
        post_after_commit(list(make()), using)
    except Exception as error:
        report("notices_unsent", "No notice was given of a change of rights.", error)


# What is told by signals


def watch_access() -> None:
    """Connect to whatever tells that rights change. To be called once all models are there."""
    users: Any = get_user_model()
    for model in apps.get_models():
        if issubclass(model, UserObjectPermissionBase | GroupObjectPermissionBase):
            post_save.connect(after_grant, sender=model)
            post_delete.connect(after_grant, sender=model)
        if issubclass(model, users) or model in users._meta.get_parent_list():
            post_save.connect(after_save_of_user, sender=model)
            post_delete.connect(after_delete_of_user, sender=model)
    for name in ("groups", "user_permissions"):
        if relation := field_of(users, name):
            watch_relation(relation)
    watch_followed()
    if (groups := field_of(users, "groups")) and (permissions := field_of(groups.related_model, "permissions")):
        m2m_changed.connect(after_change_for_many, sender=permissions.remote_field.through)
        post_delete.connect(after_change_for_many, sender=groups.related_model)
    post_delete.connect(after_change_for_many, sender=Permission)
    user_logged_out.connect(after_logout)


def watch_followed() -> None:
    """Connect to the rows by which permissions go on from a user, at the first step: memberships and the like."""
    users: Any = get_user_model()
    for name in {path.split("__")[0] for publication in all_publications() for path in publication.reads_of_user}:
        try:
            step = users._meta.get_field(name)
        except FieldDoesNotExist:  # a property
            continue
        if step.many_to_many and not step.auto_created:
            watch_relation(step)
        elif step.one_to_many or (step.one_to_one and step.auto_created):
            watch_rows(step.related_model, step.field.attname)


def field_of(model: Any, name: str) -> Any:
    """A many-to-many relation of a model; None where it has none of that name."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field if field.many_to_many else None


def watch_relation(relation: Any) -> None:
    """A many-to-many relation from users; its rows, too, where they are of a model of the application's."""
    through = relation.remote_field.through
    m2m_changed.connect(after_change_of_relation, sender=through)
    if not through._meta.auto_created:
        watch_rows(through, through._meta.get_field(relation.m2m_field_name()).attname)


def watch_rows(model: type[Model], user: str) -> None:
    """Rows that hold the key of a user under a name."""

    def after_row(sender: Any, instance: Any, using: str, **_: Any) -> None:
        tell(lambda: about_users([getattr(instance, user)]), using)

    for signal in (post_save, post_delete):  # not weakly: nothing else holds it
        signal.connect(after_row, sender=model, weak=False, dispatch_uid=f"livegate.{model._meta.label}.{user}")


def after_grant(sender: type[Model], instance: Any, using: str, **_: Any) -> None:
    """A row of guardian's was written or removed: it is about one object, and one user or all members of a group."""
    tell(lambda: about_grant(instance), using)


def about_grant(row: Any) -> Iterator[Notice]:
    generic = hasattr(row, "object_pk")
    model = ContentType.objects.get_for_id(row.content_type_id).model_class() if generic else field_model(row)
    token = token_of_user(row.user_id) if isinstance(row, UserObjectPermissionBase) else ""
    for publication in relatives(model) if model else ():
        key = row.object_pk if generic else row.content_object_id
        yield Notice("access", publication.label, encode(publication.model, key), token)


def field_model(row: Any) -> Any:
    return row._meta.get_field("content_object").related_model


def after_save_of_user(
    sender: type[Model], instance: Any, created: bool, using: str, update_fields: Collection[str] | None, **_: Any
) -> None:
    """Any save but that of a log in: what a permission reads of a user is not known."""
    if not created and set(update_fields or ["all"]) != {"last_login"}:
        tell(lambda: about_user(instance), using)


def after_delete_of_user(sender: type[Model], instance: Any, using: str, **_: Any) -> None:
    tell(lambda: about_user(instance), using)


def about_user(user: Any) -> list[Notice]:
    return [Notice("access", token=token_of(user))] if isinstance(user, get_user_model()) else about_users([user.pk])


def about_users(keys: Collection[Any]) -> list[Notice]:
    """``keys`` are those of users; None is nobody's."""
    if len(keys) > MOST_USERS:
        return EVERYBODY
    return [Notice("access", token=token_of_user(key)) for key in keys if key is not None]


def after_change_of_relation(
    sender: Any, instance: Any, action: str, reverse: bool, using: str, pk_set: Collection[Any] | None, **_: Any
) -> None:
    """Users were put into groups or taken out of them, or permissions given to them, from either side."""
    if action.startswith("post_"):
        if not reverse:
            tell(lambda: about_user(instance), using)
        elif pk_set is None:  # all of them, whoever they were
            tell(lambda: EVERYBODY, using)
        elif pk_set:
            tell(lambda: about_users(pk_set), using)


def after_change_for_many(sender: Any, using: str, action: str = "post_delete", **_: Any) -> None:
    """The permissions of a group changed, or it was deleted: its members are not looked up."""
    if action.startswith("post_"):
        tell(lambda: EVERYBODY, using)


def after_logout(sender: Any, request: Any = None, **_: Any) -> None:
    """The session is about to be removed."""
    if token := token_of_session(getattr(getattr(request, "session", None), "session_key", None)):
        tell(lambda: [Notice("logout", token=token)], DEFAULT_DB_ALIAS)
