"""The site, in a process that saves its card as it is told by a request: ``/saves/watched``, ``/saves/unwatched`` or
``/saves/undone``."""

from __future__ import annotations

from contextlib import suppress

from asgiref.sync import sync_to_async
from config.asgi import application as site


async def application(scope, receive, send):
    way = scope.get("path", "").removeprefix("/saves/")
    if way not in SAVES:
        await site(scope, receive, send)
        return
    await sync_to_async(SAVES[way])()
    await send({"type": "http.response.start", "status": 204, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body"})


def save(**changes):
    from board.models import Card

    card = Card.objects.get()
    for name, value in changes.items():
        setattr(card, name, value)
    card.save(update_fields=[*changes])


def save_and_undo():
    from django.db import transaction

    with suppress(KeyError), transaction.atomic():
        save(title="Never to be seen")
        raise KeyError


SAVES = {
    "watched": lambda: save(title="Seen by all"),
    "unwatched": lambda: save(viewed=1),
    "undone": save_and_undo,
}
