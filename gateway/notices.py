"""The notice: all that crosses the channel layer when an instance changed, or who may see what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args
from zlib import crc32

from django.contrib.auth import get_user_model
from django.utils.crypto import salted_hmac

from ..serializers.settings import setting

Kind = Literal["create", "update", "delete", "access", "logout", "roll", "close"]
KINDS = frozenset(get_args(Kind))
MESSAGE_TYPE = "livegate.notices"


@dataclass(frozen=True)
class Notice:
    """That something happened. A hint, never content: receivers read for themselves what is true.

    ``label`` is a model's (``"board.Card"``), ``hashid`` an instance's; in ``access``, which says that rights changed,
    '' for whatever somebody watches. ``token`` narrows it to the sockets of one user, or in ``logout`` of one session;
    '' for those of all. In ``close``, which an operator says, it stands for one socket; in ``roll``, which asks who is
    there, it is the name of the question.
    """

    kind: Kind
    label: str = ""
    hashid: str = ""
    token: str = ""

    @property
    def group(self) -> str:
        """The channel layer group that carries it: always the same for one instance."""
        return group_name(crc32(f"{self.label}:{self.hashid}".encode()) % setting("NOTICE_GROUPS"))


def token_of_user(key: Any) -> str:
    """What stands for a user in notices; '' for an anonymous one. Who has no ``SECRET_KEY`` can't tell who it is."""
    return "" if key is None else token("user", get_user_model()._meta.pk.to_python(key))


def token_of_session(key: str | None) -> str:
    """What stands for a session."""
    return token("session", key) if key else ""


def token_of_socket(process: str, number: int) -> str:
    """What stands for a socket, which is known by its number in a process."""
    return token("socket", f"{process}:{number}")


def token(kind: str, value: Any) -> str:
    return salted_hmac(f"livegate.{kind}", str(value), algorithm="sha256").hexdigest()[:24]


def group_name(index: int) -> str:
    # The index does not stand at the end: channels_redis chooses the Redis of a group by some bits of a CRC, which are
    # the same in names that differ at the end only, and all groups would be on one.
    return f"livegate.group.{index}.notices"


def group_names() -> list[str]:
    """All the groups over which notices are spread."""
    return [group_name(index) for index in range(setting("NOTICE_GROUPS"))]


@dataclass(frozen=True)
class Stamp:
    """Where a message stands among those that one process sends to one group, its ``stream``: by its ``number``, and by
    that of the last one whose notices come in no later one: who has not heard that has missed something."""

    stream: str
    number: int
    after: int


@dataclass(frozen=True)
class Bulletin:
    """One message of the channel layer. A hub that hears its own ``echo`` knows that it is listening. ``traces`` names
    the spans in which notices were posted, as W3C traceparents, each with the places of those notices."""

    notices: list[Notice]
    stamp: Stamp
    echo: str = ""
    traces: dict[str, list[int]] = field(default_factory=dict)


def pack(bulletin: Bulletin) -> dict[str, Any]:
    """The channel layer message."""
    return {
        "type": MESSAGE_TYPE,
        "notices": [write(notice) for notice in bulletin.notices],
        "stamp": [bulletin.stamp.stream, bulletin.stamp.number, bulletin.stamp.after],
        "echo": bulletin.echo,
        **({"traces": bulletin.traces} if bulletin.traces else {}),
    }


def unpack(message: Any) -> Bulletin:
    """What is in a channel layer message; raises ValueError for what no livegate has sent."""
    match message:
        case {
            "type": kind,
            "notices": [*entries],
            "stamp": [str() as stream, int() as number, int() as after],
            "echo": str() as echo,
            **more,
        } if kind == MESSAGE_TYPE and isinstance(more.get("traces", {}), dict):
            notices = [read(entry) for entry in entries]
            traces = cast("dict[str, list[int]]", more.get("traces", {}))
            return Bulletin(notices, Stamp(stream, number, after), echo, traces)
    raise ValueError("not a message of notices")


def write(notice: Notice) -> list[str]:
    return [notice.kind, notice.label, notice.hashid, *([notice.token] if notice.token else [])]


def read(entry: Any) -> Notice:
    match entry:
        case [str() as kind, str() as label, str() as hashid, *rest] if kind in KINDS:
            match rest:
                case [] | [str()]:
                    return Notice(cast("Kind", kind), label, hashid, *rest)
    raise ValueError("not a notice")
