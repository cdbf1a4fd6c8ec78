"""Screens: what somebody sees through one socket, frame by frame, and whether they may."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clients import PATIENCE, Client

from livegate.gateway import hub as hub_module

from .oracle import HASHIDS, NAMES, NOTHING, THINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .history import History

UNKNOWN = "whatever it is"
# Seconds between two looks at what is going on: who never rests keeps the other threads from going on.
A_MOMENT = 0.0005


@dataclass(frozen=True)
class Handed:
    """A message at the time when the server handed it over."""

    message: dict[str, Any]
    moment: int
    floors: dict[str, int]
    is_over: bool


class Screen(Client):
    """One socket of a person. Notes what is handed to it, and later reviews it against the history."""

    def __init__(self, history: History, person: str, session: str = "") -> None:
        self.history = history
        self.person = person
        self.session = session
        self.handed: list[Handed] = []
        self.reviewed = 0
        self.number = 0  # of the last request
        self.came = asyncio.Event()
        self.stuck = 0  # messages that were handed over, and that the client does not read
        self.held: dict[str, str] = {}  # what the client shows of each thing that it is subscribed to
        self.etags: dict[str, str] = {}
        # What came in another way while it was subscribed: the server may have sent an older view since, so that it
        # sends this one too.
        self.fetched: set[str] = set()
        self.since: dict[str, int] = {}  # the moment that it shows
        self.floors: dict[str, int] = {}  # the moment of the last change of rights that was heard
        self.is_over = False  # that its session ended was heard
        self.had_to_go = False
        self.code: int | None = None
        self.requests: dict[str, tuple[str, str, dict[str, Any]]] = {}
        self.asked: dict[str, str] = {}  # for which thing, by the number of the request
        super().__init__(headers=[(b"host", b"testserver"), (b"cookie", session.encode())])

    async def _accept(self, message: dict[str, Any]) -> None:
        self.handed.append(Handed(message, self.history.now, dict(self.floors), self.is_over))
        self.came.set()
        self.stuck += 1
        try:
            await self.reading.wait()
        finally:
            self.stuck -= 1
        self._out.put_nowait(message)

    async def enter(self) -> Screen:
        """Open it, and wait until the hub has it."""
        before = sockets()
        assert (await self.open())["type"] == "websocket.accept"
        async with asyncio.timeout(PATIENCE):
            while not sockets() - before:
                await asyncio.sleep(A_MOMENT)
        [self.socket] = sockets() - before
        return self

    def hold(self, thing: str, view: str, etag: str | None) -> None:
        """It shows something that came to it in another way; its name is None where that was nothing."""
        if etag:
            if thing in self.held:
                self.fetched.add(thing)
            self.held[thing], self.etags[thing] = view, etag

    async def ask(self, action: str, thing: str, **more: Any) -> None:
        """Subscribe or unsubscribe; the answer may come later, and the server has read it."""
        name = {"model": THINGS[thing][0]._meta.label, "id": HASHIDS[thing]}
        self.number += 1
        number = str(self.number)
        if action == "subscribe":
            self.since.setdefault(thing, self.history.now)
            self.requests[number] = (action, thing, more)
            self.asked[number] = thing
            await self.send({"action": action, **name, **more, "request_id": number})
        else:
            await self.send({"action": action, **name})
        self.requests[f"ping {number}"] = (action, thing, more)
        await self.send({"action": "ping", "request_id": f"ping {number}"})
        answer = f'"ping {number}"'
        async with asyncio.timeout(PATIENCE):
            while not any(answer in one.message.get("text", "") for one in self.handed[self.reviewed :]):
                self.came.clear()
                await self.came.wait()

    # What it was handed

    def review(self) -> None:
        """Look at all that was handed over since the last time."""
        new, self.reviewed = self.handed[self.reviewed :], len(self.handed)
        for handed in new:
            if handed.message["type"] == "websocket.close":
                self.code = handed.message["code"]
                assert (self.code, self.had_to_go) == (4401, True), f"{self.person} was closed with {self.code}"
            elif handed.message["type"] == "websocket.send":
                assert not handed.is_over, f"{self.person} was sent something after the session had ended"
                frame = json.loads(handed.message["text"])
                self.review_marks(frame, handed)
                getattr(self, f"review_{frame['type'].partition('_')[0].lower()}")(frame, handed)

    def review_marks(self, frame: Any, handed: Handed) -> None:
        for value in leaves(frame):
            first = self.history.seen_first(value, self.person)
            assert first is not None, f"{self.person} never had a right to {value}"
            assert first <= handed.moment, f"{self.person} had no right to {value} yet"

    def review_pong(self, frame: Any, handed: Handed) -> None:
        action, thing, _ = self.requests.pop(frame["meta"]["request_id"])
        if action == "unsubscribe":
            self.forget(thing)
            self.requests = {number: one for number, one in self.requests.items() if one[1] != thing}

    def review_subscribed(self, frame: Any, handed: Handed) -> None:
        _, thing, more = self.requests.pop(frame["meta"]["request_id"])
        possible = range(self.lowest(thing, handed), handed.moment + 1)
        views = {self.history.view(moment, self.person, thing) for moment in possible}
        assert views != {NOTHING}, f"{self.person} was subscribed to {thing}, and has never seen it"
        if "etag" not in more:  # who is subscribed already goes on to hold what they hold
            self.held.setdefault(thing, self.history.view(handed.moment, self.person, thing))
        elif more["etag"] is None or more["etag"] != self.etags.get(thing):
            self.held[thing] = UNKNOWN

    def review_error(self, frame: Any, handed: Handed) -> None:
        assert frame["payload"]["code"] == "not_found", frame
        _, thing, _ = self.requests.pop(frame["meta"]["request_id"])
        self.find(thing, NOTHING, handed)
        assert self.held.get(thing, NOTHING) == NOTHING, f"{self.person} was refused {thing}, and still shows it"
        self.forget(thing)

    def review_update(self, frame: Any, handed: Handed) -> None:
        thing, view = self.named(frame), json.dumps(frame["payload"])
        if view == self.held[thing]:
            assert thing in self.fetched, f"{self.person} was sent {thing} as it was"
            self.fetched.discard(thing)
        self.find(thing, view, handed)
        self.held[thing], self.etags[thing] = view, frame["meta"]["etag"]

    def review_delete(self, frame: Any, handed: Handed) -> None:
        thing = self.named(frame)
        assert self.held[thing] != NOTHING, f"{self.person} was told that {thing} is gone, and had nothing"
        self.find(thing, NOTHING, handed)
        self.held[thing] = NOTHING
        self.etags.pop(thing, None)

    def named(self, frame: Any) -> str:
        thing = NAMES[frame["meta"]["model"], frame["meta"]["id"]]
        assert thing in self.held, f"{self.person} is not subscribed to {thing}"
        return thing

    def find(self, thing: str, view: str, handed: Handed) -> None:
        """It is what a GET would have answered at some moment after the last one, and before it was handed over."""
        possible = range(self.lowest(thing, handed), handed.moment + 1)
        moment = next((one for one in possible if self.history.view(one, self.person, thing) == view), None)
        views = [self.history.view(one, self.person, thing) for one in possible]
        assert moment is not None, f"{self.person} was shown of {thing}: {view}; a GET has answered: {views}"
        self.since[thing] = moment

    def lowest(self, thing: str, handed: Handed) -> int:
        return max(self.since[thing], handed.floors.get(thing, 0))

    def forget(self, thing: str) -> None:
        self.held.pop(thing, None)
        self.etags.pop(thing, None)
        if not any(asked == thing for action, asked, _ in self.requests.values() if action == "subscribe"):
            self.since.pop(thing, None)

    def settle(self) -> None:
        """Nothing is on its way: it shows what a GET answers now."""
        assert self.requests == {}, f"{self.person} was not answered: {self.requests}"
        self.fetched.clear()
        for thing, view in self.held.items():
            now = self.history.view(self.history.now, self.person, thing)
            assert view == now, f"{self.person} sees of {thing}: {view}; a GET answers: {now}"
            self.since[thing] = self.history.now


def sockets() -> set[Any]:
    hub = hub_module._hubs.get(asyncio.get_running_loop())
    return set(hub.sockets) if hub else set()


def leaves(data: Any) -> Iterator[Any]:
    if isinstance(data, dict | list):
        for inner in data.values() if isinstance(data, dict) else data:
            yield from leaves(inner)
    else:
        yield data
