"""The writer's process: saves cards as a web worker would, and tells when each save was committed.

It does as told on its standard input. The saves run as those of a synchronous view do under ASGI: in a thread, beside
a running event loop, on which ``async_to_sync(channel_layer.group_send)`` then runs without making a new one.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

import django
from asgiref.sync import sync_to_async

from .contestants import CONTESTANTS, VARIABLE
from .paths import Takers

if TYPE_CHECKING:
    from collections.abc import Callable


# A primary key that is never reached.
NEVER = 1_000_000_007
# Seconds between two saves of one card, but in a burst: more than a NOTICE_INTERVAL.
REST = 0.15


class Writer:
    """Its public methods are the commands; what they return is the reply. Cards are numbered from 0."""

    def __init__(
        self, save: Callable[[int], tuple[float, int]], save_often: Callable[..., Any], takers: Takers | None
    ) -> None:
        self.save_one = save
        self.save_often = save_often
        self.takers = takers
        self.saved_at: dict[int, float] = {}

    def save(self, card: int) -> dict[str, Any]:
        """Save a card: when it was committed, and the version that it has now."""
        committed, version = self.save_rested(card)
        return {"committed": committed, "version": version}

    def save_rested(self, card: int) -> tuple[float, int]:
        """Save a card that was not saved for a while, so that nobody puts the two changes together."""
        time.sleep(max(0.0, self.saved_at.get(card, 0.0) + REST - time.monotonic()))
        saved = self.save_one(card)
        self.saved_at[card] = time.monotonic()
        return saved

    def burst(self, card: int, times: int, together: bool) -> dict[str, Any]:
        """Save a card so many times, one right after the other, each in a commit of its own or all in one. Tells the
        time of the first and of the last commit."""
        if together:
            first, version = self.save_often(card, times)
            return {"first": first, "last": first, "version": version}
        saves = [self.save_one(card) for _ in range(times)]
        return {"first": saves[0][0], "last": saves[-1][0], "version": saves[-1][1]}

    def never(self) -> str:
        """The hashid of a card that never existed."""
        from livegate.serializers.hashids import encode

        from .models import Card

        return encode(Card, NEVER)

    def reload(self) -> None:
        """The first card was saved by others, too."""
        if self.takers is not None:
            self.takers.card.refresh_from_db()

    def empty_ledger(self) -> None:
        from livegate.gateway.audit.models import LedgerEntry

        LedgerEntry.objects.all()._raw_delete("default")

    def read_ledger(self) -> dict[str, list[tuple[str, str]]]:
        """What is on record: by kind, of each viewer the name and the ETag."""
        from django.contrib.auth import get_user_model

        from livegate.gateway.audit.models import LedgerEntry

        names = {str(key): name for key, name in get_user_model().objects.values_list("pk", "username")}
        entries: dict[str, list[tuple[str, str]]] = {}
        for kind, etag, users in LedgerEntry.objects.values_list("kind", "etag", "users"):
            entries.setdefault(kind, []).extend((names[user], etag) for user in users)
        return entries

    def restore(self, **given: Any) -> Any:
        return self.takers.restore(**given)  # type: ignore[union-attr]

    def log_in(self, **given: Any) -> Any:
        return self.takers.log_in(**given)  # type: ignore[union-attr]

    def give(self, **given: Any) -> Any:
        return self.takers.give(**given)  # type: ignore[union-attr]

    def take(self, **given: Any) -> Any:
        return self.takers.take(**given)  # type: ignore[union-attr]

    def steady(self, cards: list[int], rate: float, seconds: float, done: int) -> dict[str, Any]:
        """Save one card after the other, so many in a second, for so long."""
        started = time.monotonic()
        saved = []
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            card = cards[number % len(cards)]
            saved.append((card, *self.save_rested(card)))
        self.await_done(done, {(card, version) for card, _, version in saved})
        return {"saved": saved}

    def stream(self, cards: list[int], window: int, seconds: float, done: int) -> dict[str, Any]:
        """Save one card after the other, as fast as their viewers get them: never more than ``window`` saves are on
        their way. ``ended`` is when all had arrived."""
        started = time.monotonic()
        saved = []
        under_way: set[tuple[int, int]] = set()
        number = 0
        while time.monotonic() < started + seconds:
            while len(under_way) < window:
                card = cards[number % len(cards)]
                number += 1
                committed, version = self.save_rested(card)
                saved.append((card, committed, version))
                under_way.add((card, version))
            under_way -= read_done(done, 10)
        self.await_done(done, under_way)
        return {"saved": saved, "started": started, "ended": time.monotonic()}

    def await_done(self, done: int, under_way: set[tuple[int, int]]) -> None:
        deadline = time.monotonic() + 30
        while under_way and time.monotonic() < deadline:
            under_way -= read_done(done, 1)


def read_done(done: int, patience: float) -> set[tuple[int, int]]:
    """The cards and versions that have arrived at all their viewers."""
    if not select.select([done], [], [], patience)[0]:
        return set()
    return set(struct.iter_unpack("!II", os.read(done, 8 * 1024)))


def django_saves(hashids: list[str], publish: Callable[[], None]) -> tuple[Any, Any, Any]:
    from django.db import transaction

    from livegate.serializers.hashids import decode

    from .models import Card

    publish()
    keys = [decode(Card, hashid) for hashid in hashids]
    found = Card.objects.in_bulk(keys)
    cards = [found[key] for key in keys]

    def save_often(number: int, times: int) -> tuple[float, int]:
        card = cards[number]
        committed: list[float] = []
        with transaction.atomic():
            # The first to be called after the commit: what the contestants do then is part of what is measured.
            transaction.on_commit(lambda: committed.append(time.monotonic()))
            for _ in range(times):
                card.change()
                card.save()
        return committed[0], card.version

    return lambda number: save_often(number, 1), save_often, Takers(cards[0], lambda: save_often(0, 1))


def floor_saves(hashids: list[str]) -> tuple[Any, Any, Any]:
    """The floor has no database: what stands for the commit is the moment before its change is published."""
    import redis

    from .floor import CHANNEL

    broker = redis.Redis.from_url(os.environ["REDIS_URL"])
    versions: dict[int, int] = {}

    def save(number: int) -> tuple[float, int]:
        versions[number] = versions.get(number, 0) + 1
        change = json.dumps({"id": hashids[number], "version": versions[number]})
        committed = time.monotonic()
        broker.publish(CHANNEL, change)
        return committed, versions[number]

    def save_often(number: int, times: int) -> tuple[float, int]:
        for _ in range(times):
            saved = save(number)
        return saved

    return save, save_often, None


def saves_of(kind: str, hashids: list[str]) -> tuple[Any, Any, Any]:
    """How a kind of contestants saves, and publishes what it saved."""
    if kind == "floor":
        return floor_saves(hashids)
    django.setup()

    def publish() -> None:
        if kind == "observer":
            from . import observers  # noqa: F401  (it connects itself to the model's signals)
        elif kind != "livegate":
            from .consumers import publish_saves, send_key, send_payload

            publish_saves({"classic": send_payload, "naive": send_key}[kind])

    return django_saves(hashids, publish)


def serve() -> None:
    """Carry out one command after the other, each a line of JSON: its name and its arguments."""
    hashids = json.loads(sys.stdin.readline())
    writer = Writer(*saves_of(CONTESTANTS[os.environ[VARIABLE]].kind, hashids))
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(writer, name)(**arguments)), flush=True)


if __name__ == "__main__":
    asyncio.run(sync_to_async(serve)())
