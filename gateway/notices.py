"""The notice: all that crosses the channel layer when an instance changed."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, Literal, cast, get_args
from zlib import crc32

from ..serializers.settings import setting

Kind = Literal["create", "update", "delete"]
KINDS = frozenset(get_args(Kind))
MESSAGE_TYPE = "livegate.notices"


@dataclass(frozen=True)
class Notice:
    """That something happened to one instance. A hint, never content: receivers read for themselves what is true.

    ``label`` is the model's (``"board.Card"``), ``hashid`` the instance's.
    """

    kind: Kind
    label: str
    hashid: str

    @property
    def group(self) -> str:
        """The channel layer group that carries it: always the same for one instance."""
        return group_name(crc32(f"{self.label}:{self.hashid}".encode()) % setting("NOTICE_GROUPS"))


def group_name(index: int) -> str:
    return f"livegate.notices.{index}"


def group_names() -> list[str]:
    """All the groups over which notices are spread."""
    return [group_name(index) for index in range(setting("NOTICE_GROUPS"))]


def pack(notices: list[Notice], echo: str = "") -> dict[str, Any]:
    """The channel layer message that carries the notices. A hub that hears its own echo knows that it is listening."""
    return {"type": MESSAGE_TYPE, "notices": [list(astuple(notice)) for notice in notices], "echo": echo}


def unpack(message: dict[str, Any]) -> list[Notice]:
    """The notices in a channel layer message; raises ValueError for what no livegate has sent."""
    found = message.get("notices")
    if message.get("type") != MESSAGE_TYPE or not isinstance(found, list):
        raise ValueError("not a message of notices")
    return [read(entry) for entry in found]


def read(entry: Any) -> Notice:
    match entry:
        case [str() as kind, str() as label, str() as hashid] if kind in KINDS:
            return Notice(cast("Kind", kind), label, hashid)
    raise ValueError("not a notice")
