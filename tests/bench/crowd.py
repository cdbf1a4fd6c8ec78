"""The crowd's process: clients that stay for long, lose their connection, and come back with what they hold.

It does as told on its standard input. What its clients are sent is taken in as it comes: the last view of each object
is kept, and which versions were ever shown to whom.
"""

from __future__ import annotations

import heapq
import json
import os
import select
import sys
import time
from collections import Counter
from itertools import count
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

import orjson

from .sockets import ClientSocket, raise_limit
from .verification import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = sys.stdin.fileno()
MODEL = "bench.Card"
# Seconds after which one that lost its connection comes back, and after which one that was refused asks again.
BACK = (0.2, 1.0)
AGAIN = (5.0, 15.0)
# Seconds after which an abandoned connection is no more.
FORGOTTEN = 60.0
AT_ONCE = 250  # sockets that are connected at once at first
# A server that closes with one of these has no reason to.
UNEXPECTED = (1002, 1003, 1007, 1008, 1009, 4401, 4429)


class Wish:
    """One client's interest in one object, and what they hold of it: the last frame that showed it, if any."""

    __slots__ = ("asked", "frame", "hashid", "is_refused", "is_unanswered", "version")

    def __init__(self, hashid: str) -> None:
        self.hashid = hashid
        self.frame: bytes | None = None
        self.version = 0
        self.asked = 0.0  # when
        self.is_unanswered = False
        self.is_refused = False

    @property
    def etag(self) -> str | None:
        return orjson.loads(self.frame)["meta"]["etag"] if self.frame else None

    @property
    def state(self) -> str:
        return "unanswered" if self.is_unanswered else "refused" if self.is_refused else "subscribed"

    @property
    def view(self) -> str | None:
        """What a GET would have to give, in short; None where they hold nothing."""
        if self.frame is None:
            return None
        frame = orjson.loads(self.frame)
        return fingerprint(frame["meta"]["etag"], frame["payload"])


class Visitor:
    """One client, on whichever socket they have now. ``room`` is the size of its receive buffer."""

    def __init__(self, viewer: int, port: int, wishes: list[str], room: int) -> None:
        self.viewer = viewer
        self.port = port
        self.room = room
        self.wishes = [Wish(hashid) for hashid in wishes]
        self.by_hashid = {wish.hashid: wish for wish in self.wishes}
        self.socket: ClientSocket | None = None
        self.is_behind = False
        self.is_reading = True
        self.changed = 0.0  # when what they hold was last changed, or said to be current

    @property
    def is_served(self) -> bool:
        """Whether they are connected, and have all answers."""
        return self.is_up and not any(wish.is_unanswered for wish in self.wishes)

    @property
    def is_up(self) -> bool:
        return self.socket is not None and self.socket.is_up


class Crowd:
    """All of them. Its public methods are the commands; what they return is the reply."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.visitors: dict[int, Visitor] = {}  # by viewer
        self.by_descriptor: dict[int, Visitor] = {}
        self.abandoned: set[ClientSocket] = set()
        self.shown_to: dict[tuple[str, int], list[int]] = {}
        self.closed: Counter[str] = Counter()
        self.faults: list[str] = []
        self.frames: Counter[str] = Counter()
        self.calm_since = inf
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._random = Random(0)

    # Commands

    def open(self, seed: int, patience: float, visitors: list[dict[str, Any]]) -> dict[str, Any]:
        """Connect all of these, some at a time, and wait until everybody had all their answers; how many had not."""
        self._random = Random(seed)
        opened = [Visitor(**given) for given in visitors]
        deadline = time.monotonic() + patience
        late = 0
        for start in range(0, len(opened), AT_ONCE):
            some = opened[start : start + AT_ONCE]
            for visitor in some:
                self.visitors[visitor.viewer] = visitor
                self.connect(visitor)
            while some and time.monotonic() < deadline:
                self.turn(deadline - time.monotonic())
                some = [visitor for visitor in some if not visitor.is_served]  # who is may ask again soon
            late += len(some)
        return {"late": late}

    def leave(self, how: str, seconds: dict[str, float]) -> dict[str, Any]:
        """These lose their connection, ``how``: it is closed, reset, or abandoned, so that nobody is told that they
        are gone. After so many seconds they come back."""
        for viewer, away in seconds.items():
            visitor = self.visitors[int(viewer)]
            if visitor.socket is not None:
                self.part(visitor, how)
                self.after(away, lambda visitor=visitor: self.connect(visitor))
        return {}

    def stall(self, seconds: dict[str, float]) -> dict[str, Any]:
        """These read nothing for so many seconds."""
        for viewer, idle in seconds.items():
            visitor = self.visitors[int(viewer)]
            if visitor.is_up and visitor.is_reading:
                visitor.is_reading = False
                self.poll.unregister(visitor.socket)
                self.after(idle, lambda visitor=visitor: self.read_again(visitor))
        return {}

    def calm(self) -> dict[str, Any]:
        """From now on all are there and read, and those who were refused what they asked before ask once more."""
        self.calm_since = time.monotonic()
        timers, self._timers = self._timers, []
        for _, _, act in sorted(timers):
            act()
        for visitor in self.visitors.values():
            for wish in visitor.wishes if visitor.is_up else ():
                if wish.is_refused and not wish.is_unanswered:
                    self.ask(visitor, wish)
        return {}

    def standing(self) -> dict[str, Any]:
        """How they stand: how many are connected and to how many objects they are subscribed, by port; who waits for an
        answer, or was told that it is behind."""
        up = [visitor for visitor in self.visitors.values() if visitor.is_up]
        admitted = Counter(
            visitor.port for visitor in up for wish in visitor.wishes if not (wish.is_refused or wish.is_unanswered)
        )
        return {
            "up": Counter(visitor.port for visitor in up),
            "subscribed": admitted,
            "served": sum(visitor.is_served for visitor in up),
            "behind": sum(visitor.is_behind for visitor in up),
            "closed": self.closed,
            "frames": self.frames,
            "faults": self.faults[:5],
            "fault_count": len(self.faults),
        }

    def views(self) -> dict[str, Any]:
        """What everybody holds, by viewer: since when, whether everything is answered and nothing behind, and of each
        object the view, the version that was shown last, and how it stands with it."""
        return {
            str(visitor.viewer): {
                "changed": visitor.changed,
                "settled": visitor.is_served and not visitor.is_behind,
                "views": {wish.hashid: [wish.view, wish.version, wish.state] for wish in visitor.wishes},
            }
            for visitor in self.visitors.values()
        }

    def shown(self) -> list[list[Any]]:
        """Each object and version, with those to whom it was ever shown and those to whom with the salary: a bit for
        each viewer, in hexadecimal."""
        return [[*key, *map(hex, masks)] for key, masks in self.shown_to.items()]

    def close(self) -> dict[str, Any]:
        """Everybody goes for good."""
        self._timers = []
        for visitor in self.visitors.values():
            if visitor.socket is not None:
                self.part(visitor, "close")
        for socket in list(self.abandoned):
            self.forget(socket)
        self.visitors = {}
        return {}

    # Connections

    def connect(self, visitor: Visitor) -> None:
        if visitor.socket is None:
            visitor.socket = ClientSocket(visitor.port, f"/ws/notifications/?{visitor.viewer}", visitor.room)
            visitor.is_reading = True
            self.by_descriptor[visitor.socket.fileno()] = visitor
            self.poll.register(visitor.socket, select.EPOLLOUT)

    def part(self, visitor: Visitor, how: str) -> None:
        """Leave the socket; what was asked on it is not answered any more."""
        socket, visitor.socket = visitor.socket, None
        del self.by_descriptor[socket.fileno()]
        if visitor.is_reading:
            self.poll.unregister(socket)
        if how == "abandon":
            self.abandoned.add(socket)
            self.after(FORGOTTEN, lambda: self.forget(socket))
        elif how == "reset":
            socket.reset()
        else:
            socket.close()
        visitor.is_behind = False
        for wish in visitor.wishes:
            wish.is_unanswered = False

    def forget(self, socket: ClientSocket) -> None:
        """The network has found out that an abandoned socket leads nowhere."""
        self.abandoned.discard(socket)
        socket.reset()

    def lose(self, visitor: Visitor, why: str) -> None:
        """The server is gone, or has closed the connection."""
        code = visitor.socket.close_code
        if visitor.is_up:  # else it was not reached
            self.closed[str(code or "without a word")] += 1
        if code in UNEXPECTED:
            self.faults.append(f"viewer{visitor.viewer} was closed: {why}")
        self.part(visitor, "close")
        self.after(self._random.uniform(*BACK), lambda: self.connect(visitor))

    def read_again(self, visitor: Visitor) -> None:
        if visitor.socket is not None and not visitor.is_reading:
            visitor.is_reading = True
            self.poll.register(visitor.socket, select.EPOLLIN)

    # Asking

    def ask(self, visitor: Visitor, wish: Wish) -> None:
        """Subscribe, with what is held of it. An answer names the request by the object."""
        request = {"action": "subscribe", "model": MODEL, "id": wish.hashid, "request_id": wish.hashid}
        wish.is_unanswered, wish.asked = True, time.monotonic()
        try:
            visitor.socket.send(orjson.dumps({**request, "etag": wish.etag}))
        except OSError as error:
            self.lose(visitor, repr(error))

    def ask_later(self, visitor: Visitor, wish: Wish) -> None:
        """A subscription that is refused is not remembered: whoever wants to know asks again."""
        socket = visitor.socket

        def ask() -> None:
            if visitor.socket is socket and wish.is_refused and not wish.is_unanswered:
                self.ask(visitor, wish)

        if wish.asked < self.calm_since:
            is_calm = self.calm_since < inf
            self.after(0.0 if is_calm else self._random.uniform(*AGAIN), ask)

    # The loop

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), act))

    def turn(self, patience: float) -> bool:
        """Wait for something to come or to be due, and see to it. Whether it was a command that came."""
        due = self._timers[0][0] - time.monotonic() if self._timers else patience
        ready = self.poll.poll(max(0.0, min(patience, due)))
        for descriptor, event in ready:
            if (visitor := self.by_descriptor.get(descriptor)) and visitor.is_reading:
                self.take_in(visitor, event)
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
        return any(descriptor == COMMANDS for descriptor, _ in ready)

    def take_in(self, visitor: Visitor, event: int) -> None:
        socket = visitor.socket
        try:
            if event & select.EPOLLOUT and not event & (select.EPOLLERR | select.EPOLLHUP):
                self.poll.modify(socket, select.EPOLLIN)
                socket.greet()
                return
            was_up = socket.is_up
            texts = socket.receive()
        except OSError as error:
            self.lose(visitor, repr(error))
            return
        if socket.is_up and not was_up:
            for wish in visitor.wishes:
                if visitor.socket is socket:
                    self.ask(visitor, wish)
        for text in texts:
            self.take(visitor, text)
        if socket.closed_by and visitor.socket is socket:
            self.lose(visitor, socket.closed_by)

    def take(self, visitor: Visitor, text: bytes) -> None:
        """One frame."""
        frame = orjson.loads(text)
        kind = frame["type"]
        self.frames[kind] += 1
        if kind == "UPDATE_CARD":
            self.show(visitor, visitor.by_hashid[frame["meta"]["id"]], frame, text)
        elif kind == "DELETE_CARD":
            self.hide(visitor, visitor.by_hashid[frame["meta"]["id"]])
        elif kind == "SUBSCRIBED":
            wish = visitor.by_hashid[frame["meta"]["request_id"]]
            wish.is_unanswered = wish.is_refused = False
        elif kind == "ERROR":
            self.refuse(visitor, frame)
        else:
            visitor.is_behind = kind == "DELAYED"
            visitor.changed = time.monotonic()

    def show(self, visitor: Visitor, wish: Wish, frame: dict[str, Any], text: bytes) -> None:
        version = frame["payload"]["version"]
        if version < wish.version:
            self.faults.append(f"viewer{visitor.viewer} was shown version {version} after version {wish.version}")
        wish.frame, wish.version = text, version
        visitor.changed = time.monotonic()
        masks = self.shown_to.setdefault((wish.hashid, version), [0, 0])
        masks[0] |= 1 << visitor.viewer
        if "salary" in frame["payload"]:
            masks[1] |= 1 << visitor.viewer

    def hide(self, visitor: Visitor, wish: Wish) -> None:
        wish.frame, visitor.changed = None, time.monotonic()

    def refuse(self, visitor: Visitor, frame: dict[str, Any]) -> None:
        wish = visitor.by_hashid.get(frame["meta"]["request_id"])
        if wish is None or frame["payload"]["code"] != "not_found":
            self.faults.append(f"viewer{visitor.viewer} was sent {frame}")
            return
        if wish.frame is not None:  # it left their view while they were away, which is told by this
            self.hide(visitor, wish)
        wish.is_unanswered, wish.is_refused = False, True
        self.ask_later(visitor, wish)


def serve() -> None:
    """Carry out one command after the other, each a line of JSON: its name and its arguments; and mind the clients
    all the time."""
    raise_limit()
    crowd = Crowd()
    crowd.poll.register(COMMANDS, select.EPOLLIN)
    pending = b""
    while True:
        if not crowd.turn(60):
            continue
        came = os.read(COMMANDS, 1 << 20)
        if not came:
            return
        *lines, pending = (pending + came).split(b"\n")
        for line in lines:
            name, arguments = json.loads(line)
            print(json.dumps(getattr(crowd, name)(**arguments)), flush=True)


if __name__ == "__main__":
    serve()
