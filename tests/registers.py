"""Registers by hand: what processes would answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from livegate.gateway.audit.register import OpenSocket, OpenSubscription, Process, Register

HERE = Process("0123456789abcdef", "web-1", 17, datetime(2026, 3, 1, tzinfo=UTC))
FAR = Process("fedcba9876543210", "web-2", 18, datetime(2026, 3, 1, tzinfo=UTC))


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def opened(number: int, user: object = None, *, is_behind: bool = False) -> OpenSocket:
    return OpenSocket(HERE, number, "" if user is None else str(user.pk), ago(hours=3), is_behind)  # type: ignore[attr-defined]


def watched(socket: OpenSocket, hashid: str, **facts: object) -> OpenSubscription:
    usual = {"since": ago(minutes=5, seconds=1), "verified": ago(seconds=7), "basis": "is_owner=yes", "etag": "e" * 32}
    return OpenSubscription(socket, "board.Card", hashid, **{**usual, **facts})  # type: ignore[arg-type]


def answered(*found: OpenSocket | OpenSubscription, unanswered: tuple[Process, ...] = ()) -> Register:
    subscriptions = tuple(one for one in found if isinstance(one, OpenSubscription))
    sockets = {one if isinstance(one, OpenSocket) else one.socket: None for one in found}
    return Register(tuple(sockets), subscriptions, (HERE,), unanswered)
