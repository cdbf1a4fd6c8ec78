"""Rights: who the viewers of one evaluation are now, and their permissions, read for all of them together."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from django.contrib import auth
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, Group, Permission, PermissionsMixin
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db.models import Model, prefetch_related_objects
from guardian.backends import ObjectPermissionBackend
from guardian.conf import settings as guardian_settings
from guardian.ctypes import get_content_type
from guardian.exceptions import WrongAppError
from guardian.utils import get_anonymous_user, get_group_obj_perms_model, get_user_obj_perms_model

from .copies import own_copy
from .grants import accounts, grants_to_groups, grants_to_users, members_of
from .lookups import Among
from .viewers import refresh

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from .viewers import Viewer

# What a permission is about: the content type's key and the object's, as guardian's own cache has it.
Subject = tuple[Any, str]


class Rights:
    """Some viewers as they are now, and what they may do. Made for one evaluation, and forgotten with it: a right is
    never older than that.

    ``keys`` has those viewers who are there (their user exists and is active, or they are anonymous), each with the
    primary key of the user, None for an anonymous one. As long as only the questions that are asked here decide, no
    user instance is made; ``fresh`` reads them, for all at once.
    """

    def __init__(self, viewers: Iterable[Viewer]) -> None:
        self.keys: dict[Viewer, Any] = {}
        self._superusers: set[Any] = set()
        self._fresh: dict[Viewer, Viewer] = {}
        self._grants: dict[Subject, dict[str, set[Any]]] = {}
        self._completely_read: set[Subject] = set()
        self._expected: dict[type[Model], dict[Any, Model]] = {}
        # What others have worked out for all viewers together.
        self.memo: dict[Any, Any] = {}
        self._read_accounts(list(viewers))

    def _read_accounts(self, viewers: list[Viewer]) -> None:
        users = get_user_model()
        columns = {field.name for field in users._meta.concrete_fields}
        if not columns >= {"is_active", "is_superuser"} or not has_plain_permissions(users):
            self._load(viewers)  # such a user decides for itself what these are
            return
        wanted = [viewer.user_key for viewer in viewers]
        found = accounts(users, wanted)
        self._superusers = set(found.get(True, ()))
        there = self._superusers.union(found.get(False, ()))
        if there.issuperset(wanted):  # as they nearly always are
            self.keys = dict(zip(viewers, wanted, strict=True))
        else:
            self.keys = {
                viewer: viewer.user_key for viewer in viewers if viewer.identity is None or viewer.user_key in there
            }

    def _load(self, viewers: Iterable[Viewer]) -> None:
        self._fresh = refresh(viewers)
        self.keys = {
            viewer: fresh.user.pk if fresh.identity is not None else None for viewer, fresh in self._fresh.items()
        }
        self._superusers = {
            fresh.user.pk for fresh in self._fresh.values() if getattr(fresh.user, "is_superuser", False)
        }

    def _bare(self, viewer: Viewer) -> Viewer:
        self.read_users()
        return self._fresh[viewer]

    def fresh(self, viewer: Viewer) -> Viewer:
        """The viewer with an instance of their user as it is now, another one with each call: what is kept on it is
        kept from everybody else. The first call reads the users of all viewers, in one query.

        Its ``has_perm`` answers from what was read, and asks the database nothing.
        """
        bare = self._bare(viewer)
        user: Any = own_copy(bare.user) if isinstance(bare.user, Model) else AnonymousUser()
        # A user model that answers for itself is asked itself.
        if getattr(type(user), "has_perm", None) in (PermissionsMixin.has_perm, AnonymousUser.has_perm):
            user.has_perm = partial(self.has_perm, user)
        return replace(bare, user=user)

    def user_of(self, viewer: Viewer) -> Any:
        """The viewer's user as it is now, with what was prefetched; for looking at, not for the application's code."""
        return self._bare(viewer).user

    def being(self, keys: Iterable[Any]) -> AbstractSet[Viewer]:
        """The viewers whose user has one of these keys; None stands for the anonymous ones."""
        of = self._viewer_of
        found = of.keys() & keys
        if 2 * len(found) > len(of) and not self._further:  # fewer are to be left out
            return self.there.difference(map(of.__getitem__, of.keys() - found))
        viewers = set(map(of.__getitem__, found))
        for key in found & self._further.keys():
            viewers.update(self._further[key])
        return viewers

    @cached_property
    def there(self) -> frozenset[Viewer]:
        """The viewers who are there."""
        return frozenset(self.keys)

    @cached_property
    def known(self) -> AbstractSet[Viewer]:
        """The viewers who are not anonymous."""
        return self.being(self._viewer_of.keys() - {None})

    @cached_property
    def _viewer_of(self) -> dict[Any, Viewer]:
        """A viewer for each key; nearly always the only one."""
        return dict(zip(self.keys.values(), self.keys, strict=True))

    @cached_property
    def _further(self) -> dict[Any, list[Viewer]]:
        """The other viewers of users who are there several times, in several languages."""
        further: dict[Any, list[Viewer]] = {}
        if len(self._viewer_of) < len(self.keys):
            for viewer, key in self.keys.items():
                if self._viewer_of[key] is not viewer:
                    further.setdefault(key, []).append(viewer)
        return further

    @cached_property
    def alike(self) -> list[AbstractSet[Viewer]]:
        """The viewers, divided by all but the user that may shape what they are shown."""
        surroundings = [viewer.surroundings for viewer in self.keys]
        if not surroundings or surroundings.count(surroundings[0]) == len(surroundings):
            return [self.there]
        alike: dict[tuple[str, ...], set[Viewer]] = {}
        for viewer in self.keys:
            alike.setdefault(viewer.surroundings, set()).add(viewer)
        return list(alike.values())

    def prefetch_of_users(self, paths: Iterable[str]) -> None:
        """Fetch what lies on these paths from the users, one query for each relation."""
        relations = sorted(paths)
        if relations:
            users = [self.user_of(viewer) for viewer, key in self.keys.items() if key is not None]
            prefetch_related_objects(users, *relations)

    def expect(self, instances: Iterable[Model]) -> None:
        """These are going to be asked about: what has to be read for one of them is then read for all."""
        for instance in instances:
            self._expected.setdefault(type(instance), {})[instance.pk] = instance

    def expected(self, model: type[Model]) -> list[Model]:
        """The instances of a model that are going to be asked about."""
        return list(self._expected.get(model, {}).values())

    # Reading

    def read(self, model: type[Model], keys: Collection[Any], codenames: Collection[str] | None = None) -> None:
        """Read the object permissions on the objects of a model with these keys, in three queries: those of these
        codenames, or all.

        The same three whether such objects exist or not, and whatever the number of viewers; none for no codenames.
        """
        content_type = get_content_type(model)
        held = {str(key): self._grants.setdefault((content_type.pk, str(key)), {}) for key in keys}
        for grants in held.values():
            for codename in codenames or ():
                grants.setdefault(codename, set())
        if codenames is None:
            self._completely_read |= {(content_type.pk, key) for key in held}
        elif not codenames:
            return

        subject: Any = model  # guardian takes a class too, and does not say so
        about = content_type.pk, None if codenames is None else frozenset(codenames)

        def keys_in(perms_model: Any) -> Collection[Any]:
            return list(held) if perms_model.objects.is_generic() else keys

        perms_model = get_user_obj_perms_model(subject)
        for key, codename, users in grants_to_users(perms_model, *about, keys_in(perms_model), self._user_keys):
            held[str(key)].setdefault(codename, set()).update(users)

        perms_model = get_group_obj_perms_model(subject)
        of_groups = grants_to_groups(perms_model, *about, keys_in(perms_model))
        members = members_of(self._user_keys, {group for _, _, group in of_groups})
        for key, codename, group in of_groups:
            held[str(key)].setdefault(codename, set()).update(members.get(group, ()))

    def read_users(self) -> None:
        """Read the users of all viewers, in one query, if they have not been read."""
        if not self._fresh and self.keys:
            self._load(list(self.keys))

    def read_on_models(self) -> None:
        """Read the permissions on whole models, in three queries, where it is from here that they are answered."""
        if self._decide and self._decide_about_models and self._asks(ModelBackend):
            self._model_permissions  # noqa: B018

    @cached_property
    def _user_keys(self) -> set[Any]:
        keys = {key for key in self.keys.values() if key is not None}
        return keys if self._anonymous is None else {*keys, self._anonymous.pk}

    @cached_property
    def _anonymous(self) -> Any:
        """The user who stands for all anonymous viewers; None where there is none, or nobody to stand for."""
        if guardian_settings.ANONYMOUS_USER_NAME is not None and None in self.keys.values():
            with suppress(ObjectDoesNotExist):  # an error of those who ask, not of everyone
                return get_anonymous_user()
        return None

    @cached_property
    def _model_permissions(self) -> tuple[dict[Any, set[str]], dict[Any, set[str]]]:
        """The model-level permissions of the users, their own and those of their groups, in three queries."""
        users = self._user_keys
        own: dict[Any, set[str]] = {key: set() for key in users}
        through_groups: dict[Any, set[str]] = {key: set() for key in users}
        relation: Any = get_user_model()._meta.get_field("user_permissions")
        user, permission = relation.m2m_field_name(), relation.m2m_reverse_field_name()
        direct = relation.remote_field.through._base_manager.filter(Among(user, users))
        for key, app, codename in direct.values_list(
            user, f"{permission}__content_type__app_label", f"{permission}__codename"
        ):
            own[key].add(f"{app}.{codename}")
        members = members_of(users)
        of_groups = Permission.objects.filter(group__in=members)
        for group, app, codename in of_groups.values_list("group", "content_type__app_label", "codename").order_by():
            for key in members.get(group, ()):
                through_groups[key].add(f"{app}.{codename}")
        return own, through_groups

    # Asking about all at once

    @cached_property
    def _decide(self) -> bool:
        """Whether nothing else decides than what was read here: no backend and no user model of one's own."""
        answering = {type(backend) for backend in self._backends if hasattr(backend, "has_perm")}
        return has_plain_permissions(get_user_model()) and answering <= {ModelBackend, ObjectPermissionBackend}

    @cached_property
    def _decide_about_models(self) -> bool:
        """Whether it is as Django's own ModelBackend has it who holds a permission on a model."""
        groups: Any = get_user_model()._meta.get_field("groups")
        return issubclass(groups.related_model, Group) and all(
            getattr(type(backend), name) is getattr(ModelBackend, name)
            for backend in self._backends
            if isinstance(backend, ModelBackend)
            for name in ("_get_permissions", "_get_user_permissions", "_get_group_permissions")
        )

    def holding(self, viewers: AbstractSet[Viewer], perm: str, obj: Model | None = None) -> AbstractSet[Viewer] | None:
        """Those for whom ``user.has_perm(perm, obj)`` is true; None where each user has to be asked."""
        if not self._decide or (obj is None and not self._decide_about_models):
            return None
        holders = self._superusers | (self._model_holders(perm) if obj is None else self._holders(perm, obj))
        if not viewers.isdisjoint(self.being([None])) and self.has_perm(AnonymousUser(), perm, obj):
            holders.add(None)
        return self.being(holders) & viewers

    def _holders(self, perm: str, obj: Model) -> set[Any]:
        """The keys of the users who have an object permission, as guardian's backend sees it."""
        if not self._asks(ObjectPermissionBackend):
            return set()
        content_type = get_content_type(obj)
        label, dot, codename = perm.partition(".")
        if dot and label not in (obj._meta.app_label, content_type.app_label):
            raise WrongAppError(f"{perm} is no permission on a {obj._meta.label}.")
        codename = codename if dot else perm
        subject = content_type.pk, str(obj.pk)
        if subject not in self._completely_read and codename not in self._grants.get(subject, ()):
            # Asked by code of the application's, or about what is nested in what is decided about.
            others = {one.pk for one in self.expected(type(obj))}
            self.read(type(obj), {obj.pk, *others})
        return self._grants[subject].get(codename, set())

    def _model_holders(self, perm: str) -> set[Any]:
        if not self._asks(ModelBackend):
            return set()
        return {key for permissions in self._model_permissions for key, held in permissions.items() if perm in held}

    def _asks(self, backend: type[Any]) -> bool:
        return any(type(one) is backend for one in self._backends)

    @cached_property
    def _backends(self) -> Sequence[Any]:
        return auth.get_backends()

    # Asking about one

    def has_perm(self, user: Any, perm: str, obj: Any = None) -> bool:
        """``user.has_perm(perm, obj)``: the backends in their order, guardian's and Django's answered from here."""
        if user.is_active and user.is_superuser:
            return True
        if obj is None and user.is_authenticated and self._decide_about_models:
            user._user_perm_cache, user._group_perm_cache = (held[user.pk] for held in self._model_permissions)
        for backend in self._backends:
            if not hasattr(backend, "has_perm"):
                continue
            try:
                if type(backend) is ObjectPermissionBackend:  # which answers for objects only
                    allowed = isinstance(obj, Model) and self._is_granted(user, perm, obj)
                else:
                    allowed = backend.has_perm(user, perm, obj)
                if allowed:
                    return True
            except PermissionDenied:
                return False
        return False

    def _is_granted(self, user: Any, perm: str, obj: Model) -> bool:
        if user.is_authenticated:
            return user.is_active and user.pk in self._holders(perm, obj)
        if guardian_settings.ANONYMOUS_USER_NAME is None:
            return False
        anonymous = self._anonymous or get_anonymous_user()  # which raises where there is none
        holds = anonymous.pk in self._holders(perm, obj)
        return anonymous.is_active and (anonymous.is_superuser or holds)


def has_plain_permissions(users: type[Any]) -> bool:
    """Whether a user of this model asks the backends, and does not answer for itself."""
    return getattr(users, "has_perm", None) is PermissionsMixin.has_perm
