"""JSON as DRF writes it, and the ETag of a view: what makes a push and a GET comparable."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson
from rest_framework.renderers import JSONRenderer
from rest_framework.utils.encoders import JSONEncoder

# Leave to DRF's encoder what DRF writes in its own way.
OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
drf_default = JSONEncoder().default


def encode(data: Any) -> bytes:
    """The JSON text of what a serializer gives, equal to what DRF's JSONRenderer makes of it.

    What orjson refuses (an integer of more than 64 bits, say) goes through DRF's own renderer, and raises there
    what a GET would raise.
    """
    try:
        return orjson.dumps(data, default=drf_default, option=OPTIONS)
    except orjson.JSONEncodeError:
        return JSONRenderer().render(data)


def etag(body: bytes) -> str:
    """A name for exactly these bytes, 32 hexadecimal digits; made of nothing but what the viewer sees."""
    return blake2b(body, digest_size=16).hexdigest()
