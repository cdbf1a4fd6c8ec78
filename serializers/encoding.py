"""JSON as a GET answers it, and the ETag of a view: what makes a push and a GET comparable."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from rest_framework.renderers import JSONRenderer

if TYPE_CHECKING:
    from collections.abc import Iterable


def encode(data: Any) -> bytes:
    """The JSON text of what a serializer gives, UTF-8: byte for byte what DRF's JSONRenderer answers to a GET.

    Made by that renderer, because no faster encoder agrees with it on everything (NaN, dates as keys, what a
    generator yields). Raises what a GET would raise, and TypeError for None, of which DRF makes an empty body.
    """
    if data is None:
        raise TypeError("The serializer gave None, and there is nothing to show in it.")
    body: bytes = JSONRenderer().render(data)
    return body


def encode_value(value: Any) -> bytes:
    """The JSON text of a value that stands in an object or a list."""
    return encode([value])[1:-1]


def member(name: str, text: bytes) -> bytes:
    """A member of a JSON object, from its name and the text of its value; to be joined by ``object_of``."""
    return b"%b%b%b" % (encode_value(name), b":" if JSONRenderer.compact else b": ", text)


def object_of(members: Iterable[bytes]) -> bytes:
    """The JSON object of these members: byte for byte what ``encode`` makes of the whole."""
    return b"{%b}" % (b"," if JSONRenderer.compact else b", ").join(members)


def etag(body: bytes) -> str:
    """A name for exactly these bytes, 32 hexadecimal digits; made of nothing but what the viewer sees."""
    return blake2b(body, digest_size=16).hexdigest()
