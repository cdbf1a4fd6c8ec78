"""Access: notices of what changes who may see what, and who may be connected.

Django's and guardian's signals tell most of it. What no signal tells is told by ``access_changed``, and else noticed by
the sweep.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldDoesNotExist
from django.db import router
from django.db.models import ForeignObjectRel, Model
from django.db.models.signals import m2m_changed, post_delete, post_save
from guardian.conf import settings as guardian_settings
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from ..serializers.hashids import encode
from .courier import courier
from .logs import report
from .notices import Notice, token_of_session, token_of_user
from .notifications import notices_of, post_after_commit
from .primary import from_primary
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
    users: Any = get_user_model()
    name = vars(user).get(users.USERNAME_FIELD)  # which is not fetched for this, where it was deferred
    anonymous = name is not None and name == guardian_settings.ANONYMOUS_USER_NAME
    return "" if anonymous else token_of_user(getattr(user, users._meta.pk.attname))


def tell(make: Callable[[], Iterable[Notice]], using: str) -> None:
    """Post notices when the transaction commits; no error of ours reaches the one who saves. Where it can't be told
    whom it concerns, everybody is told."""
    try:
        try:
            with from_primary():  # a replica can't tell of what is being written
                notices = list(make())
        except Exception as error:
            report("notices_widened", "Whom a change of rights concerns is not known; everybody is told.", error)
            notices = EVERYBODY
        post_after_commit(notices, using)
    except Exception as error:
        report("notices_lost", "No notice was given of a change of rights.", error)


# What is told by signals


def watch_access() -> None:
    """Connect to whatever tells that rights change. To be called once all models are there."""
    users: Any = get_user_model()
    for model in (*kinds_of(UserObjectPermissionBase), *kinds_of(GroupObjectPermissionBase)):
        post_save.connect(after_grant, sender=model)
        post_delete.connect(after_grant, sender=model)
    for model in {kind for one in (users, *users._meta.get_parent_list()) for kind in kinds_of(one)}:
        post_save.connect(after_save_of_user, sender=model)
        post_delete.connect(after_delete_of_user, sender=model)
    for name in ("groups", "user_permissions"):
        if relation := field_of(users, name):
            watch_relation(relation)
    if (groups := field_of(users, "groups")) and (permissions := field_of(groups.related_model, "permissions")):
        m2m_changed.connect(after_change_for_many, sender=permissions.remote_field.through)
    for model in kinds_of(Permission) + (kinds_of(groups.related_model) if groups else []):
        post_delete.connect(after_change_for_many, sender=model)
    user_logged_out.connect(after_logout)
    user_logged_in.connect(after_login)
    watch_followed()


def kinds_of(model: Any) -> list[Any]:
    """A model, its proxies and those below it: each of them sends signals of its own."""
    return [one for one in apps.get_models(include_auto_created=True) if issubclass(one, model)]


def field_of(model: Any, name: str) -> Any:
    """A many-to-many relation of a model; None where it has none of that name."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    return field if field.many_to_many else None


def watch_followed() -> None:
    """Connect to the rows by which permissions go on at the first step: from a user, such as memberships; from an
    instance, such as its editors."""
    users: Any = get_user_model()
    for publication in all_publications():
        for step in first_steps(users, publication.reads_of_user):
            if step.many_to_many:
                watch_relation(step)
            elif isinstance(step, ForeignObjectRel):
                watch_rows(step.related_model, step.field.attname)
        for step in first_steps(publication.model, publication.reads):
            if step.many_to_many:
                side = after_change_of_others if isinstance(step, ForeignObjectRel) else after_change_of_instances
                m2m_changed.connect(side, sender=through_of(step))


def first_steps(model: Any, paths: Iterable[str]) -> Iterator[Any]:
    """The fields with which these paths begin; what is no field is left out."""
    for name in {path.split("__")[0] for path in paths}:
        with suppress(FieldDoesNotExist):
            yield model._meta.get_field(name)


def through_of(relation: Any) -> Any:
    return (relation if hasattr(relation, "through") else relation.remote_field).through


def watch_relation(relation: Any) -> None:
    """A many-to-many relation of users, from their side or from the other; its rows, too, where they are of a model of
    the application's."""
    is_reverse = isinstance(relation, ForeignObjectRel)
    through = through_of(relation)
    m2m_changed.connect(after_change_of_groups if is_reverse else after_change_of_users, sender=through)
    if not through._meta.auto_created:
        name = relation.field.m2m_reverse_field_name() if is_reverse else relation.m2m_field_name()
        watch_rows(through, through._meta.get_field(name).attname)


def watch_rows(rows: Any, user: str) -> None:
    """Rows that hold the key of a user under a name."""

    def after_row(sender: Any, instance: Any, using: str, **_: Any) -> None:
        tell(lambda: about_users([getattr(instance, user)]), using)

    for model in kinds_of(rows):
        for signal in (post_save, post_delete):  # not weakly: nothing else holds it
            signal.connect(after_row, sender=model, weak=False, dispatch_uid=f"livegate.{model._meta.label}.{user}")


def after_grant(sender: type[Model], instance: Any, using: str, **_: Any) -> None:
    """A row of guardian's was written or removed: it is about one object, and one user or all members of a group."""
    tell(lambda: about_grant(instance), using)


def about_grant(row: Any) -> Iterator[Notice]:
    """On what is not published by itself, it may still be asked where that is part of something else."""
    generic = hasattr(type(row), "object_pk")
    model = ContentType.objects.get_for_id(row.content_type_id).model_class() if generic else field_model(row)
    is_of_user = isinstance(row, UserObjectPermissionBase)
    token = token_of_user(row.user_id) if is_of_user else ""
    publications = list(relatives(model)) if model else []
    for publication in publications:
        key = row.object_pk if generic else row.content_object_id
        yield Notice("access", publication.label, encode(publication.model, key), token)
    if model and not publications and is_of_user:
        yield Notice("access", token=token)


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


def about_members(keys: Collection[Any]) -> list[Notice]:
    """The same, where one of them may be the user whom guardian keeps for those who are anonymous."""
    users: Any = get_user_model()
    anonymous = guardian_settings.ANONYMOUS_USER_NAME
    named = users._default_manager.filter(pk__in=keys, **{users.USERNAME_FIELD: anonymous})
    return EVERYBODY if anonymous is not None and named.exists() else about_users(keys)


def after_change_of_users(sender: Any, instance: Any, reverse: bool, **told: Any) -> None:
    """Users were put into groups or taken out of them, or permissions given to them, from either side."""
    tell_of_change(instance, is_instance=not reverse, of_instance=about_user, of_keys=about_members, **told)


def after_change_of_groups(sender: Any, instance: Any, reverse: bool, **told: Any) -> None:
    """The same for a relation that is declared at the other side: a team has members."""
    after_change_of_users(sender, instance, not reverse, **told)


def after_change_of_instances(sender: Any, instance: Any, reverse: bool, **told: Any) -> None:
    """What a permission follows from an instance: those who may edit it, for instance, from either side."""
    model = told["model"] if reverse else type(instance)

    def about_instances(keys: Iterable[Any]) -> list[Notice]:
        return [notice for key in keys for notice in about_instance(model(pk=key))]

    tell_of_change(instance, is_instance=not reverse, of_instance=about_instance, of_keys=about_instances, **told)


def after_change_of_others(sender: Any, instance: Any, reverse: bool, **told: Any) -> None:
    """The same for a relation that is declared at the other side."""
    after_change_of_instances(sender, instance, not reverse, **told)


def about_instance(instance: Any) -> list[Notice]:
    return [Notice("access", one.label, one.hashid) for one in notices_of("access", instance)]


def tell_of_change(
    instance: Any,
    *,
    is_instance: bool,
    of_instance: Callable[[Any], Iterable[Notice]],
    of_keys: Callable[[Collection[Any]], Iterable[Notice]],
    action: str,
    using: str,
    pk_set: Collection[Any] | None,
    **_: Any,
) -> None:
    """A many-to-many relation changed: of the instance, or of those with these keys."""
    if action.startswith("post_"):
        if is_instance:
            tell(lambda: of_instance(instance), using)
        elif pk_set is None or len(pk_set) > MOST_USERS:  # of all, whoever they were, or of very many
            tell(lambda: EVERYBODY, using)
        elif pk_set:
            tell(lambda: of_keys(pk_set), using)


def after_change_for_many(sender: Any, using: str, action: str = "post_delete", **_: Any) -> None:
    """The permissions of a group changed, or it was deleted: its members are not looked up."""
    if action.startswith("post_"):
        tell(lambda: EVERYBODY, using)


def after_logout(sender: Any, request: Any = None, **_: Any) -> None:
    """The session is about to be removed, and is not brought back by a transaction that fails."""
    tell_of_session(getattr(getattr(request, "session", None), "session_key", None))


def after_login(sender: Any, request: Any = None, **_: Any) -> None:
    """The session is another than the one that the request came with: that one is over."""
    came_with = getattr(request, "COOKIES", {}).get(settings.SESSION_COOKIE_NAME)
    if came_with and came_with != getattr(getattr(request, "session", None), "session_key", None):
        tell_of_session(came_with)


def tell_of_session(key: str | None) -> None:
    if token := token_of_session(key):
        courier.post([Notice("logout", token=token)])
