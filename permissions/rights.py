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

from .aggregates import listed
from .copies import own_copy
from .crowds import Crowd, common
from .grants import GROUP, HOLDERS, MEMBERS, SUPERUSERS, USERS, Sought, groups_of_users, members_of, read
from .lookups import Among
from .viewers import refresh

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from .aggregates import Keys
    from .grants import Row
    from .viewers import Viewer

# A model, the keys of objects of it, and the codenames that are asked about; None for all.
Subjects = tuple["type[Model]", "Collection[Any]", "Collection[str] | None"]
# What a permission is about: the content type's key and the object's, as guardian's own cache has it.
Subject = tuple[Any, str]


class Rights:
    """Some viewers as they are now, and what they may do. Made for one evaluation, and forgotten with it: a right is
    never older than that.

    The ``crowd`` has those viewers who are there: their user exists and is active, or they are anonymous. As long as
    only the questions that are asked here decide, no user instance is made; ``fresh`` reads them, for all at once.
    """

    def __init__(self, viewers: Iterable[Viewer], *subjects: Subjects) -> None:
        """``subjects`` are read together with who is there, as far as one query can give both."""
        self._superusers: tuple[Keys, ...] = ()
        self._fresh: dict[Viewer, Viewer] = {}
        self._grants: dict[Subject, dict[str, tuple[Keys, ...]]] = {}
        self._completely_read: set[Subject] = set()
        self._listed: dict[tuple[Keys, ...], frozenset[Any]] = {}  # the keys in them
        self._expected: dict[type[Model], dict[Any, Model]] = {}
        # What others have worked out for all viewers together.
        self.memo: dict[Any, Any] = {}
        self.crowd: Crowd = viewers if isinstance(viewers, Crowd) else Crowd(viewers)
        users = get_user_model()
        columns = {field.name for field in users._meta.concrete_fields}
        if columns >= {"is_active", "is_superuser"} and has_plain_permissions(users):
            self._read(subjects[0] if subjects else None, users)
            subjects = subjects[1:]
        else:  # such a user decides for itself what these are
            self.crowd = self._load(self.crowd)
        for one in subjects:
            self.read(*one)

    def _load(self, crowd: Crowd) -> Crowd:
        self._fresh = refresh(crowd)
        users = {fresh.user.pk: fresh.user for fresh in self._fresh.values()}
        self._superusers = (tuple(key for key, user in users.items() if getattr(user, "is_superuser", False)),)
        return crowd if len(self._fresh) == len(crowd) else Crowd(self._fresh)

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

    def prefetch_of_users(self, paths: Iterable[str]) -> None:
        """Fetch what lies on these paths from the users, one query for each relation."""
        relations = sorted(paths)
        if relations:
            users = [self.user_of(viewer) for viewer in self.crowd.known]
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
        """Read the object permissions on the objects of a model with these keys, in one query: those of these
        codenames, or all.

        The same one whether such objects exist or not, and whatever the number of viewers; none for no codenames.
        """
        if codenames is None or codenames:
            self._read((model, keys, codenames))

    def _read(self, subject: Subjects | None = None, accounts: type[Any] | None = None) -> None:
        model, keys, codenames = subject or (None, (), ())
        is_about_objects = model is not None and (codenames is None or codenames)
        sought = Sought(accounts, **self._grants_on(model, keys, codenames)) if is_about_objects else Sought(accounts)
        found: dict[int, list[Row]] = {kind: [] for kind in range(5)}
        for row in read(sought, keys, self._user_keys if is_about_objects else self.crowd.user_keys):
            found[row[0]].append(row)
        only = next(iter(keys), None)  # of one object it is not told which
        members = {group: users for _, _, _, group, users in found[MEMBERS]}
        through_groups = [(key, codename, members.get(group, ())) for _, key, codename, group, _ in found[GROUP]]
        for key, codename, users in [*((row[1], row[2], row[4]) for row in found[HOLDERS]), *through_groups]:
            held = self._grants[sought.content_type, str(only if key is None else key)]
            if users not in held.get(codename, ()):  # as they may be, when they are read again
                held[codename] = (*held.get(codename, ()), users)
        if accounts is not None:
            self._superusers = tuple(row[-1] for row in found[SUPERUSERS])
            self.crowd = self.crowd.of_accounts((*self._superusers, *(row[-1] for row in found[USERS])))

    def _grants_on(self, model: Any, keys: Collection[Any], codenames: Collection[str] | None) -> dict[str, Any]:
        """Where the grants on these are, which are known to be none unless some are found."""
        content_type = get_content_type(model).pk
        for key in keys:
            held = self._grants.setdefault((content_type, str(key)), {})
            for codename in codenames or ():
                held.setdefault(codename, ())
            if codenames is None:
                self._completely_read.add((content_type, str(key)))
        return {
            "to_users": get_user_obj_perms_model(model),
            "to_groups": get_group_obj_perms_model(model),
            "content_type": content_type,
            "codenames": None if codenames is None else frozenset(codenames),
            "groups": groups_of_users(),
        }

    def read_users(self) -> None:
        """Read the users of all viewers, in one query, if they have not been read."""
        if not self._fresh and self.crowd:
            self.crowd = self._load(self.crowd)

    def read_on_models(self) -> None:
        """Read the permissions on whole models, in three queries, where it is from here that they are answered."""
        if self._decide and self._decide_about_models and self._asks(ModelBackend):
            self._model_permissions  # noqa: B018

    @cached_property
    def _user_keys(self) -> AbstractSet[Any]:
        keys = self.crowd.user_keys
        return keys if self._anonymous is None else keys | {self._anonymous.pk}

    @cached_property
    def _anonymous(self) -> Any:
        """The user who stands for all anonymous viewers; None where there is none, or nobody to stand for."""
        if guardian_settings.ANONYMOUS_USER_NAME is not None and self.crowd.anonymous:
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
            for key in listed(members.get(group, ())):
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
        holders: AbstractSet[Viewer]
        if obj is None:
            holders = self.crowd.being(self._model_holders(perm)) | self.crowd.among(self._superusers)
        else:
            holders = self.crowd.among((*self._superusers, *self._holders(perm, obj)))
        if not viewers.isdisjoint(self.crowd.anonymous) and self.has_perm(AnonymousUser(), perm, obj):
            holders = holders | self.crowd.anonymous
        return common(holders, viewers)

    def _holders(self, perm: str, obj: Model) -> tuple[Keys, ...]:
        """The keys of the users who have an object permission, as guardian's backend sees it."""
        if not self._asks(ObjectPermissionBackend):
            return ()
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
        return self._grants[subject].get(codename, ())

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
            return user.is_active and self._holds(user, perm, obj)
        if guardian_settings.ANONYMOUS_USER_NAME is None:
            return False
        anonymous = self._anonymous or get_anonymous_user()  # which raises where there is none
        holds = self._holds(anonymous, perm, obj)
        return anonymous.is_active and (anonymous.is_superuser or holds)

    def _holds(self, user: Any, perm: str, obj: Model) -> bool:
        found = self._holders(perm, obj)
        if found not in self._listed:
            self._listed[found] = frozenset(key for keys in found for key in listed(keys))
        return user.pk in self._listed[found]


def has_plain_permissions(users: type[Any]) -> bool:
    """Whether a user of this model asks the backends, and does not answer for itself."""
    return getattr(users, "has_perm", None) is PermissionsMixin.has_perm
