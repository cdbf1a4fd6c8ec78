"""The paths by which a right is taken: what the writer does to a viewer, and what must then happen to their socket."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .rights import username

if TYPE_CHECKING:
    from collections.abc import Callable

    from .models import Card

FIELD = "salary"
PERMISSION = f"bench.view_{FIELD}"


@dataclass(frozen=True)
class Path:
    """``give`` makes sure that a user sees the guarded field of a card, ``take`` takes that away.

    ``leaves`` is what is to be gone then: the ``"field"``, the ``"object"``, the ``"socket"``, or the ``"session"`` and
    with it the socket.
    """

    give: Callable[[Any, Card], None]
    take: Callable[[Any, Card], None]
    leaves: str = "field"


def grant(holder: Any, card: Card) -> None:
    from guardian.shortcuts import assign_perm

    assign_perm(PERMISSION, holder, card)


def revoke(holder: Any, card: Card) -> None:
    from guardian.shortcuts import remove_perm

    remove_perm(PERMISSION, holder, card)


def group_of(user: Any) -> Any:
    """A group in which only this user is."""
    from django.contrib.auth.models import Group

    group, _ = Group.objects.get_or_create(name=f"of {user.username}")
    return group


def grant_to_group(user: Any, card: Card) -> None:
    group_of(user).user_set.add(user)
    grant(group_of(user), card)


def make_superuser(user: Any, card: Card) -> None:
    user.is_superuser = True
    user.save()


def make_nobody(user: Any, card: Card) -> None:
    user.is_superuser = False
    user.save()


def deactivate(user: Any, card: Card) -> None:
    user.is_active = False
    user.save()


def exchange_password(user: Any, card: Card) -> None:
    user.set_unusable_password()
    user.save()


def hide(user: Any, card: Card) -> None:
    from guardian.shortcuts import remove_perm

    remove_perm("bench.view_card", user, card)


def delete_silently(user: Any, card: Card) -> None:
    """As raw SQL does: no signal tells of it."""
    rows = user.userobjectpermission_set.filter(permission__codename=f"view_{FIELD}", object_pk=str(card.pk))
    rows._raw_delete(rows.db)


def log_out(user: Any, card: Card) -> None:
    user.browser.logout()


def nothing(user: Any, card: Card) -> None:
    """They have it, or it is not about the field."""


PATHS = {
    "grant removed": Path(grant, revoke),
    "left a group": Path(grant_to_group, lambda user, card: user.groups.remove(group_of(user))),
    "grant to a group removed": Path(grant_to_group, lambda user, card: revoke(group_of(user), card)),
    "group deleted": Path(grant_to_group, lambda user, card: group_of(user).delete()),
    "no superuser any more": Path(make_superuser, make_nobody),
    "not to be seen any more": Path(nothing, hide, "object"),
    "deactivated": Path(nothing, deactivate, "socket"),
    "password changed": Path(nothing, exchange_password, "session"),
    "logged out": Path(nothing, log_out, "session"),
    "without a signal": Path(grant, delete_silently),
}


class Takers:
    """The users of the viewers, and what is done to them. ``save`` saves the card, and gives its version."""

    def __init__(self, card: Card, save: Callable[[], tuple[float, int]]) -> None:
        self.card = card
        self.save = save
        self.users: dict[int, Any] = {}

    def user(self, viewer: int) -> Any:
        from django.contrib.auth import get_user_model

        if viewer not in self.users:
            self.users[viewer] = get_user_model().objects.get(username=username(viewer))
        return self.users[viewer]

    def restore(self, hidden: list[int]) -> None:
        """Let everybody be active again, and these see the card."""
        from django.contrib.auth import get_user_model
        from guardian.shortcuts import assign_perm

        get_user_model().objects.update(is_active=True)
        if hidden:
            assign_perm("bench.view_card", [self.user(viewer) for viewer in hidden], self.card)

    def log_in(self, viewers: list[int]) -> list[str]:
        """The keys of sessions in which these are logged in."""
        from django.test import Client

        keys = []
        for viewer in viewers:
            user = self.user(viewer)
            user.browser = Client()
            user.browser.force_login(user)
            keys.append(user.browser.session.session_key)
        return keys

    def give(self, path: str, viewers: list[int]) -> int:
        """Give it to all of them, and save the card; the version that it has then."""
        for viewer in viewers:
            PATHS[path].give(self.user(viewer), self.card)
        return self.save()[1]

    def take(self, path: str, viewers: list[int], rate: float, saves: bool) -> list[list[Any]]:
        """Take it from one after the other, so many in a second, and save the card as often in between: the moment of
        each commit, and the version that the card had then."""
        taken: list[list[Any]] = []
        started, version = time.monotonic(), self.card.version
        for number, viewer in enumerate(viewers):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            taken.append([viewer, self.committed(path, viewer), version])
            if saves:
                time.sleep(max(0.0, started + (number + 0.5) / rate - time.monotonic()))
                version = self.save()[1]
        return taken

    def committed(self, path: str, viewer: int) -> float:
        from django.db import transaction

        moments: list[float] = []
        with transaction.atomic():
            # The first to be called after the commit: what livegate does then is part of what is measured.
            transaction.on_commit(lambda: moments.append(time.monotonic()))
            PATHS[path].take(self.user(viewer), self.card)
        return moments[0]
