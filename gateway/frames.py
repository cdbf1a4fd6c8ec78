"""The frames that are sent to a client: Flux Standard Actions as JSON text."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import orjson

if TYPE_CHECKING:
    from .decisions import Pair, View
    from .publications import Publication

# Why a message was not carried out: the closed list, with the words that go with each code.
ERRORS = {
    "binary_frame": "Send text frames; this one was binary.",
    "frame_too_large": "This frame is longer than the server reads.",
    "invalid_json": "This frame is not JSON.",
    "invalid_message": "This is no message of the protocol: see its documentation.",
    "unknown_model": "There is no such model to subscribe to.",
    "not_found": "There is no such object.",
    "too_many_subscriptions": "This socket is subscribed to as many objects as it may be.",
}
ErrorCode = Literal[
    "binary_frame",
    "frame_too_large",
    "invalid_json",
    "invalid_message",
    "unknown_model",
    "not_found",
    "too_many_subscriptions",
]


def subscribed(pair: Pair, request_id: Any) -> str:
    """From here on no change is missed."""
    return text({"type": "SUBSCRIBED", "payload": name_of(pair), "meta": {"request_id": request_id}})


def updated(pair: Pair, view: View) -> str:
    """The viewer's view, whole. Its JSON is taken as it is, not encoded again; the frame is written once for all
    who are shown this view."""
    if view.frame is None:
        head, tail = around(pair.publication, pair.hashid)
        view.frame = b"".join([head, view.body, tail, view.etag.encode(), b'"}}']).decode()
    return view.frame


@lru_cache(maxsize=1_000)
def around(publication: Publication, hashid: str) -> tuple[bytes, bytes]:
    """What stands before and after the payload in the frames of one object, up to the ETag, which is hexadecimal."""
    meta = orjson.dumps({"model": publication.label, "id": hashid, "etag": ""})
    kind = orjson.dumps(action("UPDATE", publication))
    return b'{"type":%b,"payload":' % kind, b',"meta":%b' % meta.removesuffix(b'"}')


def deleted(pair: Pair) -> str:
    """It left the viewer's view: deleted, or no longer permitted; which of them is not told."""
    return text({"type": action("DELETE", pair.publication), "payload": {"id": pair.hashid}, "meta": name_of(pair)})


def delayed() -> str:
    """What the client holds may be old, and no change may be told for a while; until ``current``."""
    return text({"type": "DELAYED"})


def current() -> str:
    """Everything that the client is subscribed to was looked at again, and it holds what came of it."""
    return text({"type": "CURRENT"})


def refused(code: ErrorCode, request_id: Any = None) -> str:
    """A message was not carried out; the socket stays open."""
    payload = {"code": code, "detail": ERRORS[code]}
    return text({"type": "ERROR", "error": True, "payload": payload, "meta": {"request_id": request_id}})


def pong(request_id: Any) -> str:
    """The answer to a ping."""
    return text({"type": "PONG", "meta": {"request_id": request_id}})


def message(frame: str) -> dict[str, Any]:
    """What sends it, in ASGI; anew each time, for who passes it on may put something into it."""
    return {"type": "websocket.send", "text": frame}


def name_of(pair: Pair) -> dict[str, str]:
    return {"model": pair.publication.label, "id": pair.hashid}


def action(verb: str, publication: Publication) -> str:
    return f"{verb}_{publication.model.__name__.upper()}"


def text(frame: dict[str, Any]) -> str:
    return orjson.dumps(frame).decode()
