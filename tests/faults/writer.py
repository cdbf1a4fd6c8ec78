"""A process that changes cards and rights as a plain script does: it has no event loop.

It is told so by the management command ``write``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING, Any

from board.demo import CARD_PK, load
from board.models import Board, Card, Organization
from board.permissions import can_see, knows_the_salary, on_the_team
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import Error, connection, transaction
from guardian.models import GroupObjectPermission, UserObjectPermission
from guardian.shortcuts import assign_perm, remove_perm
from rest_framework.authtoken.models import Token

from livegate.gateway.courier import courier
from livegate.gateway.notices import Notice
from livegate.permissions import Viewer, anyone
from livegate.serializers.hashids import encode

from .changes import CARDS, CHANGES, delete, payroll, person

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PEOPLE = ["amira", "ben", "cleo", "dev", ""]
PATCHED = CARD_PK + 4  # is changed through the REST API, and by nobody else
ELSEWHERE = CARD_PK  # an organization in which nobody is
QUIET = CARD_PK + 5  # is changed once, if at all: nothing that comes later makes up for what was missed of it
SALARIES = 1_000_000
GUARDS = {"title": anyone, "notes": on_the_team, "salary": knows_the_salary}  # of what they can see
# Seconds between two changes when it goes on changing.
PAUSE = 0.02


class Writer:
    """Its public methods are the commands; what they give is the reply.

    Each save writes a version into all fields. What it was allowed to be shown to is kept with it: nobody else writes.
    """

    def __init__(self) -> None:
        self._random = Random(5)
        self._version = max([0, *(version_of(card) for card in Card.objects.all())])
        self._going_on: threading.Thread | None = None
        self._is_enough = threading.Event()
        self._start_over()

    def _start_over(self) -> None:
        self._log: dict[str, Any] = {"commits": 0, "errors": [], "database_errors": [], "slowest": 0.0}
        self._allowed: dict[str, dict[int, set[str]]] = {name: defaultdict(set) for name in GUARDS}

    # Preparing

    def prepare(self) -> dict[str, Any]:
        """The cards as at the beginning of each test: their hashids, those of the board and of an organization, and the
        people's tokens."""
        Board.objects.update(name="Hiring")
        elsewhere, _ = Organization.objects.update_or_create(pk=ELSEWHERE, defaults={"name": "Elsewhere"})
        load()
        for rows in (UserObjectPermission, GroupObjectPermission):
            rows.objects.filter(object_pk__in=[*CARDS, PATCHED, QUIET]).delete()
        for pk in [*CARDS, PATCHED, QUIET]:
            card = self._write(pk, public=pk == CARDS[0], owner=person("amira"))
            for permission in ("view_card", "view_salary"):
                assign_perm(permission, payroll(), card)
            assign_perm("view_card", person("cleo"), card)
        self._start_over()
        self._note(CARDS)
        return {
            "cards": [Card.objects.get(pk=pk).hashid for pk in [*CARDS, PATCHED, QUIET]],
            "board": encode(Board, Board.objects.get().pk),
            "organization": encode(Organization, elsewhere.pk),
            "tokens": {token.user.username: token.key for token in Token.objects.select_related("user")},
        }

    def log_in(self, name: str, seconds: int) -> str:
        """The key of a session that ends after so many seconds."""
        user, session = person(name), SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.set_expiry(seconds)
        session.save()
        return session.session_key

    # Writing

    def begin(self) -> None:
        """Go on changing things, until ``end``."""
        self._is_enough.clear()
        self._going_on = threading.Thread(target=self._go_on)
        self._going_on.start()

    def end(self) -> dict[str, Any]:
        """How many changes were committed since the test began, what errors there were, how long the slowest took in
        seconds; and to whom what may have been shown, by field and version."""
        self._is_enough.set()
        if self._going_on is not None:
            self._going_on.join()
        allowed = {name: {version: [*names] for version, names in of.items()} for name, of in self._allowed.items()}
        return {**self._log, "allowed": allowed}

    def go_on(self, seconds: float) -> None:
        """Let it go on changing things for so long."""
        time.sleep(seconds)

    def rewrite(self) -> None:
        """Save a new version of every card that is changed at random."""
        self._note(CARDS)  # the database may have been away since the last change
        for pk in CARDS:
            self._rewrite(pk)

    def rewrite_and_die(self) -> None:
        """Revoke and save, and be killed right after the commit, before anything can be said of it."""
        with transaction.atomic():
            transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
            for pk in CARDS:
                remove_perm("view_card", person("cleo"), Card.objects.get(pk=pk))
                self._write(pk)

    def save_once(self) -> None:
        """Change the quiet card, which its owner alone may see from then on."""
        card = Card.objects.get(pk=QUIET)
        for holder in (payroll(), person("cleo")):
            with self._timed():
                remove_perm("view_card", holder, card)
        card.notes = "saved once"
        with self._timed():
            card.save()

    def write_much(self) -> None:
        """Save notes of a megabyte."""
        card = Card.objects.get(pk=QUIET)
        card.notes = f"{self._next_version()} ".ljust(1_000_000, "x")
        card.save()

    def name_board(self, name: str) -> None:
        board = Board.objects.get()
        board.name = name
        board.save()

    def name_all(self, name: str) -> None:
        """Name the board and the organization so."""
        self.name_board(name)
        organization = Organization.objects.get(pk=ELSEWHERE)
        organization.name = name
        organization.save()

    def flood(self, notices: int) -> None:
        """Give notice of so many things that nobody watches."""
        courier.post(Notice("update", "auth.User", f"nobody-{number}") for number in range(notices))

    def _go_on(self) -> None:
        while not self._is_enough.wait(PAUSE):
            try:
                self._change_something()
            except Error as error:
                self._log["database_errors"].append(repr(error))
                connection.close()
            except Exception as error:
                self._log["errors"].append(repr(error))
        connection.close()  # it is this thread's

    def _change_something(self) -> None:
        pk, change = self._random.choice(CARDS), self._random.choice(CHANGES)
        card = Card.objects.filter(pk=pk).first()
        if card is not None:
            with self._timed():
                affected = change(card)
            self._note(affected)
        if change is not delete:
            self._rewrite(pk)

    def _rewrite(self, pk: int) -> None:
        with self._timed():
            self._write(pk)
        self._note([pk])

    def _write(self, pk: int, **fields: Any) -> Card:
        card = Card.objects.filter(pk=pk).first()
        if card is None:
            card = Card(pk=pk, board=Board.objects.get(), owner=person("amira"))
        version = self._next_version()
        fields = {"title": f"v{version}", "notes": f"v{version}", "salary": SALARIES + version, **fields}
        for name, value in fields.items():
            setattr(card, name, value)
        card.save()
        return card

    def _next_version(self) -> int:
        self._version += 1
        return self._version

    @contextlib.contextmanager
    def _timed(self) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self._log["slowest"] = max(self._log["slowest"], time.monotonic() - begun)
        self._log["commits"] += 1

    def _note(self, pks: Iterable[int]) -> None:
        """Who may see what of the present versions of these cards."""
        for card in Card.objects.filter(pk__in=pks):
            for name in PEOPLE:
                viewer = Viewer(person(name), language="en-us", time_zone="UTC", scheme="http", host="127.0.0.1")
                if can_see.allows(viewer, card):
                    for field in (field for field, guard in GUARDS.items() if guard.allows(viewer, card)):
                        self._allowed[field][version_of(card)].add(name)


def version_of(card: Card) -> int:
    return card.salary - SALARIES
