"""The messages that a client may send: read, checked by a DRF serializer, and turned into values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
from rest_framework import serializers

from ..serializers.settings import setting

if TYPE_CHECKING:
    from .frames import ErrorCode

ACTIONS = ("subscribe", "unsubscribe", "ping")
NAMES = {"action", "model", "id", "request_id", "etag"}
# As it stands in the header of an HTTP answer (RFC 9110, 8.8.3); a proxy that compresses the answer makes it weak.
QUOTED = re.compile(r'(?:W/)?"([^"]*)"')


@dataclass(frozen=True)
class Message:
    """What a client asks for. ``model`` and ``id`` are '' in a ping.

    ``wants_ack``: it gave a ``request_id``. ``wants_view``: it gave an ``etag``, which names what the client holds;
    None and '' say that this is nothing.
    """

    action: str
    model: str
    id: str
    request_id: Any
    etag: str | None
    wants_ack: bool
    wants_view: bool


class Refusal(Exception):
    """A frame that is no message: the error code to answer with, and the ``request_id`` as far as it was read."""

    def __init__(self, code: ErrorCode, request_id: Any = None) -> None:
        super().__init__(code)
        self.code: ErrorCode = code
        self.request_id = request_id


class StrictCharField(serializers.CharField):
    """Text; a number or a boolean is not taken for one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class ETagField(StrictCharField):
    """An ETag, bare as in a frame or quoted as in a header; bare afterwards."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        quoted = QUOTED.fullmatch(text)
        return quoted[1] if quoted else text


class MessageSerializer(serializers.Serializer[Any]):
    """``{"model", "id"}`` is a subscription; everything else names its action."""

    action = serializers.ChoiceField(choices=ACTIONS, default="subscribe")
    model = StrictCharField(required=False, trim_whitespace=False)
    id = StrictCharField(required=False, trim_whitespace=False)
    request_id = serializers.JSONField(required=False, allow_null=True)
    etag = ETagField(required=False, allow_null=True, allow_blank=True, trim_whitespace=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        names_object = "model" in attrs and "id" in attrs
        if attrs["action"] != "ping" and not names_object:
            raise serializers.ValidationError("names no object")
        return attrs


@cache
def reader() -> MessageSerializer:
    """The serializer, whose fields take longer to build than a message takes to read."""
    return MessageSerializer()


def parse(text: str | None) -> Message:
    """The message in a text frame; None stands for a binary one. Raises Refusal for what is none."""
    if text is None:
        raise Refusal("binary_frame")
    if len(text.encode(errors="replace")) > setting("MAX_FRAME_BYTES"):
        raise Refusal("frame_too_large")
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Refusal("invalid_json") from error
    if not isinstance(data, dict):
        raise Refusal("invalid_message")
    request_id = data.get("request_id")
    try:
        orjson.dumps({"meta": data})  # as deep as the frame that sends the request_id back
    except orjson.JSONEncodeError as error:
        raise Refusal("invalid_message") from error
    if data.keys() - NAMES:
        raise Refusal("invalid_message", request_id)
    try:
        given = reader().run_validation(data)
    except serializers.ValidationError as error:
        raise Refusal("invalid_message", request_id) from error
    return Message(
        action=given["action"],
        model=given.get("model", ""),
        id=given.get("id", ""),
        request_id=request_id,
        etag=given.get("etag"),
        wants_ack="request_id" in data,
        wants_view="etag" in data,
    )
