"""The scribe's process: changes cards and rights without a rest, and keeps who may be shown what.

It does as told on its standard input. It is a plain script: no event loop runs in it.
"""

from __future__ import annotations

import json
import select
import sys
import time
from random import Random
from typing import TYPE_CHECKING, Any

import django

from .rights import SUPERUSER, TEAMS, username

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

VIEW, SALARY = "view_card", "view_salary"
# What is done how often.
CHANGES = {
    "save": 80,
    "grant_or_revoke": 8,
    "show_or_hide_the_salary": 5,
    "join_or_leave": 4,
    "grant_or_revoke_to_a_team": 3,
}
# The summary of one card in three is so long that a client which reads nothing is soon found out.
LONG = "It goes on and on. " * 1_000
PAUSE = 0.1  # seconds before what the database refused is tried again


class Scribe:
    """Its public methods are the commands; what they return is the reply. Cards are numbered from 0.

    Nobody else changes anything, so that it knows all rights: the viewers who have one are the bits of a number.
    """

    def __init__(self) -> None:
        self.shown_to: dict[tuple[int, int], list[int]] = {}  # by card and version: who may see it, who the salary
        self.direct: dict[tuple[str, int], int] = {}  # by permission and card
        self.teams: dict[int, int] = {}  # by number
        self.teams_of: dict[int, set[int]] = {}  # by card
        self.unsure = 0  # changes that the database refused at first

    # Commands

    def prepare(self, seed: int, cards: int, wishes: dict[str, list[int]]) -> list[str]:
        """Make the cards, given by whom each is wished for: some of them may see it by a grant, some through a team,
        some not at all. Gives the hashids."""
        from .models import Card

        self.random = Random(seed)
        self.wishers: list[list[int]] = [[] for _ in range(cards)]
        for viewer, numbers in wishes.items():
            for number in numbers:
                self.wishers[number].append(int(viewer))
        made = (
            Card(title=f"Card {number}", price="1.00", summary="" if number % 3 else LONG) for number in range(cards)
        )
        self.cards = Card.objects.bulk_create(made)
        self.read_users()
        self.grant()
        for number in range(cards):
            self.note([number])
        return [card.hashid for card in self.cards]

    def write(self, rate: float) -> dict[str, Any]:
        """Change something so often in a second, until the next command comes."""
        kinds, weights = list(CHANGES), list(CHANGES.values())
        done = dict.fromkeys(kinds, 0)
        failed: list[str] = []
        taken: list[float] = []
        due = time.monotonic()
        while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            due = max(due + 1 / rate, time.monotonic())
            [kind] = self.random.choices(kinds, weights)
            before, unsure = time.monotonic(), self.unsure
            try:
                getattr(self, kind)()
            except Exception as error:
                failed.append(repr(error))
            done[kind] += 1
            if self.unsure == unsure:  # else it waited for the database
                taken.append(time.monotonic() - before)
        return {"done": done, "failed": failed, "taken": taken, "unsure": self.unsure}

    def stop(self) -> None:
        """Which ends ``write``."""

    def allowed(self) -> list[list[Any]]:
        """Each object and version, with those who had a right to see it while it was there, and those who had one to
        its salary: a bit for each viewer, in hexadecimal."""
        return [
            [self.cards[card].hashid, version, *map(hex, masks)] for (card, version), masks in self.shown_to.items()
        ]

    # Rights

    def read_users(self) -> None:
        from django.contrib.auth import get_user_model
        from django.contrib.auth.models import Group

        wanted = {username(viewer): viewer for wishers in self.wishers for viewer in wishers}
        found = get_user_model().objects.in_bulk(wanted, field_name="username")
        self.users = {viewer: found[name] for name, viewer in wanted.items()}
        named = f"of card {self.cards[0].pk} and more"
        self.groups = [Group.objects.create(name=f"team {team} {named}") for team in range(TEAMS)]

    def grant(self) -> None:
        """What rights there are at first: half of those who wish for a card may see it by a grant, an eighth its
        salary; and three teams may see it, of twenty in which everybody is in one."""
        from django.contrib.auth.models import Permission
        from guardian.models import GroupObjectPermission, UserObjectPermission

        codes = Permission.objects.filter(content_type__app_label="bench", codename__in=[VIEW, SALARY])
        permissions = {permission.codename: permission for permission in codes}

        def row(codename: str, number: int) -> dict[str, Any]:
            permission = permissions[codename]
            named = {"content_type_id": permission.content_type_id, "object_pk": str(self.cards[number].pk)}
            return {"permission": permission, **named}

        to_users, to_groups = [], []
        for number, wishers in enumerate(self.wishers):
            for codename, share in ((VIEW, 2), (SALARY, 8)):
                chosen = self.random.sample(wishers, len(wishers) // share)
                self.direct[codename, number] = bits(chosen)
                to_users += [
                    UserObjectPermission(user=self.users[viewer], **row(codename, number)) for viewer in chosen
                ]
            self.teams_of[number] = set(self.random.sample(range(TEAMS), 3))
            to_groups += [
                GroupObjectPermission(group=self.groups[team], **row(VIEW, number)) for team in self.teams_of[number]
            ]
        UserObjectPermission.objects.bulk_create(to_users, batch_size=5_000)
        GroupObjectPermission.objects.bulk_create(to_groups, batch_size=5_000)
        membership = type(next(iter(self.users.values()))).groups.through
        rows = [membership(user=user, group=self.groups[viewer % TEAMS]) for viewer, user in sorted(self.users.items())]
        membership.objects.bulk_create(rows, batch_size=5_000)
        for team in range(TEAMS):
            self.teams[team] = bits(viewer for viewer in self.users if viewer % TEAMS == team)

    def note(self, numbers: Iterable[int]) -> None:
        """Who may see the present version of these cards just now."""
        for number in numbers:
            masks = self.shown_to.setdefault((number, self.cards[number].version), [0, 0])
            may_see = self.direct[VIEW, number] | 1 << SUPERUSER
            for team in self.teams_of[number]:
                may_see |= self.teams[team]
            masks[0] |= may_see
            masks[1] |= may_see & (self.direct[SALARY, number] | 1 << SUPERUSER)

    # Changes

    def save(self) -> None:
        number = self.random.randrange(len(self.cards))
        card = self.cards[number]
        card.change()
        self.note([number])
        self.commit(card.save)

    def grant_or_revoke(self) -> None:
        self.exchange(VIEW)

    def show_or_hide_the_salary(self) -> None:
        self.exchange(SALARY)

    def exchange(self, codename: str) -> None:
        """Give somebody a permission, or take it."""
        from guardian.shortcuts import assign_perm, remove_perm

        number = self.random.randrange(len(self.cards))
        viewer = self.random.choice(self.wishers[number])
        change = remove_perm if self.direct[codename, number] >> viewer & 1 else assign_perm
        self.commit(lambda: change(f"bench.{codename}", self.users[viewer], self.cards[number]), [number])
        self.direct[codename, number] ^= 1 << viewer
        self.note([number])

    def join_or_leave(self) -> None:
        viewer, team = self.random.choice(sorted(self.users)), self.random.randrange(TEAMS)
        is_in = self.teams[team] >> viewer & 1
        members = self.groups[team].user_set
        change = members.remove if is_in else members.add
        concerned = [number for number in self.teams_of if team in self.teams_of[number]]
        self.commit(lambda: change(self.users[viewer]), concerned)
        self.teams[team] ^= 1 << viewer
        self.note(concerned)

    def grant_or_revoke_to_a_team(self) -> None:
        from guardian.shortcuts import assign_perm, remove_perm

        number, team = self.random.randrange(len(self.cards)), self.random.randrange(TEAMS)
        change = remove_perm if team in self.teams_of[number] else assign_perm
        self.commit(lambda: change(f"bench.{VIEW}", self.groups[team], self.cards[number]), [number])
        self.teams_of[number] ^= {team}
        self.note([number])

    def commit(self, change: Callable[[], object], concerned: Iterable[int] = ()) -> None:
        """Do it, until the database takes it. What was refused may have been committed all the same, and then nobody
        told of it: so whose rights it concerns is told once more."""
        from django.db import Error, connection, transaction

        from livegate.gateway.access import access_changed

        is_sure = True
        while True:
            try:
                with transaction.atomic():
                    change()
                    for number in () if is_sure else concerned:
                        access_changed(instance=self.cards[number])
                return
            except Error:
                connection.close()
                self.unsure += is_sure
                is_sure = False
                time.sleep(PAUSE)


def bits(viewers: Iterable[int]) -> int:
    return sum(1 << viewer for viewer in viewers)


def serve() -> None:
    """Carry out one command after the other, each a line of JSON: its name and its arguments."""
    scribe = Scribe()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(scribe, name)(**arguments)), flush=True)


if __name__ == "__main__":
    django.setup()
    serve()
