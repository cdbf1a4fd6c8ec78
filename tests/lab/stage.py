"""The stage: people before their screens, on an event loop of its own that runs only when somebody waits for something.

Between, nothing is sent: so a commit and the moment that is noted after it are one, seen from the screens.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from board.models import Card
from channels.layers import channel_layers, get_channel_layer
from clients import PATIENCE, all_is_sent
from django.conf import settings
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.test import Client as Browser

from livegate.gateway import hub as hub_module
from livegate.gateway import sweep as sweep_module
from livegate.gateway.courier import courier

from . import events
from .history import History
from .oracle import THINGS, fresh, is_there
from .screens import A_MOMENT, Screen
from .states import restore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Pairs = set[tuple[str, str]]


class Gate:
    """A place in the evaluation at which the next one that comes by is held up."""

    def __init__(self) -> None:
        self._shut = ""
        self._looked = False  # half of what is read was read
        self.reached = threading.Event()
        self._opened = threading.Event()

    def shut(self, place: str) -> None:
        self.reached.clear()
        self._opened.clear()
        self._shut = place

    def open(self) -> None:
        self._shut = ""
        self._opened.set()

    def pass_by(self, place: str) -> None:
        if place == self._shut:
            self._shut = ""
            self.reached.set()
            assert self._opened.wait(PATIENCE)

    def around(self, evaluate: Callable[..., Any]) -> Callable[..., Any]:
        """An evaluation, with a gate before it and one after it."""

        def gated(*given: Any) -> Any:
            self._looked = False
            self.pass_by("before")
            decisions = evaluate(*given)
            self.pass_by("after")
            return decisions

        return gated

    def between(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """One of the two steps in which the database is read, with a gate after the first of them."""

        def gated(*given: Any) -> Any:
            found = read(*given)
            self._looked = not self._looked
            if self._looked:
                self.pass_by("between")
            return found

        return gated


class Stage:
    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        restore("demonstration")
        channel_layers.backends.clear()  # what is left in a layer would be waited for
        ContentType.objects.get_for_model(Card)
        self.loop = asyncio.new_event_loop()
        self.screens: list[Screen] = []
        self.all_screens: list[Screen] = []  # also those that were closed
        self.browsers: dict[str, Browser] = {}
        self.is_lossy = False  # something was not told, and no sweep has been since
        self.history = History(lambda: {(one.person, thing) for one in self.screens for thing in one.since})
        with self.in_silence():
            events.begin(self.history)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @contextmanager
    def in_silence(self) -> Iterator[None]:
        """The notices that would be posted are lost."""
        courier.post = lambda notices, more=False: None  # type: ignore[method-assign]
        try:
            yield
        finally:
            del courier.post  # type: ignore[method-assign]

    # People

    def connect(self, person: str) -> Screen | None:
        """Before another screen, logged in; None for who can't be."""
        [user] = fresh([person]).values()
        if not is_there(user):
            return None
        if user.pk is None:
            return self.open(person)
        if person not in self.browsers:
            self.browsers[person] = Browser()
            self.browsers[person].force_login(user)
        return self.open(person, self.cookie_of(person))

    def cookie_of(self, person: str) -> str:
        return f"{settings.SESSION_COOKIE_NAME}={self.browsers[person].session.session_key}"

    def open(self, person: str, session: str = "") -> Screen:
        async def enter() -> Screen:
            return await Screen(self.history, person, session).enter()

        screen: Screen = self.run(enter())
        self.screens.append(screen)
        self.all_screens.append(screen)
        return screen

    def watch(self, person: str) -> Screen | None:
        """Connect, and subscribe to everything."""
        screen = self.connect(person)
        if screen is not None:
            self.history.expect(*((person, thing) for thing in THINGS))
            for thing in THINGS:
                self.ask(screen, "subscribe", thing, etag=None)
        return screen

    def ask(self, screen: Screen, action: str, thing: str, **more: Any) -> None:
        self.history.expect((screen.person, thing))
        self.run(screen.ask(action, thing, **more))

    def close(self, screen: Screen) -> None:
        self.screens.remove(screen)
        self.run(screen.close())

    def log_out(self, person: str) -> None:
        """End the session, which closes what was opened with it."""
        if person not in self.browsers:
            return
        session = self.cookie_of(person)
        self.browsers.pop(person).logout()
        leaving = [screen for screen in self.screens if screen.session == session]
        for screen in leaving:
            screen.had_to_go = True
        self.run(self.hear())
        for screen in leaving:
            screen.is_over = True

    # Events

    def happen(self, name: str, *given: Any) -> None:
        """Something happens, and is heard of."""
        changed: Pairs = getattr(events, name)(self.history, *given)
        self.history.take()
        self.note_who_has_to_go()
        self.run(self.hear())
        for screen in self.screens:
            for person, thing in changed:
                if person == screen.person:
                    screen.floors[thing] = self.history.now

    def happen_untold(self, name: str, *given: Any) -> None:
        """Something happens, and whatever would be told of it is lost."""
        self.is_lossy = True
        with self.in_silence():
            getattr(events, name)(self.history, *given)
        self.history.take()
        self.note_who_has_to_go()

    def happen_during(self, place: str, name: str, *given: Any) -> bool:
        """Something happens, and its evaluation is held up at a place, until the gate is opened; False where nobody
        has anything evaluated."""
        self.gate.shut(place)
        self.happen(name, *given)
        self.run(self.hear())
        stuck = {screen.socket for screen in self.screens if screen.stuck}
        hub = hub_module._hubs.get(self.loop)
        if hub is None or not any(socket.busy or socket.dirty for socket in hub.sockets - stuck):
            self.gate.open()
            return False
        self.run(self.reach())
        return True

    async def reach(self) -> None:
        """Wait until an evaluation is held up."""
        async with asyncio.timeout(PATIENCE):
            while not self.gate.reached.is_set():
                await asyncio.sleep(A_MOMENT)

    def note_who_has_to_go(self) -> None:
        users = fresh({screen.person for screen in self.screens})
        for screen in self.screens:
            screen.had_to_go |= not is_there(users[screen.person])

    def sweep(self) -> None:
        if hub := hub_module._hubs.get(self.loop):
            self.run(sweep_module.sweep(hub))
        self.is_lossy = False
        self.settle()

    # Waiting

    async def hear(self) -> None:
        """Wait until every notice was sent, and heard where somebody is there who hears: what comes to the channel of a
        hub while it stops stays in it."""
        async with asyncio.timeout(PATIENCE):
            while not all_is_sent() or (self.loop in hub_module._hubs and queued()):
                await asyncio.sleep(A_MOMENT)

    def is_quiet(self) -> bool:
        hub = hub_module._hubs.get(self.loop)
        if not all_is_sent() or queued():
            return False
        if hub is None:
            return True
        waiting = {screen.socket for screen in self.screens if screen.stuck}
        return not (hub._backlog or hub._delivery.due or hub._examiner.doubted) and not any(
            socket.busy or socket.dirty or socket.unanswered for socket in hub.sockets - waiting
        )

    async def quiet(self) -> None:
        """Wait until nothing is to be done but to send to those who read nothing."""
        calm = 0
        async with asyncio.timeout(PATIENCE):
            while calm < 3:
                if hub := hub_module._hubs.get(self.loop):
                    for part in (hub._evaluator, hub._examiner):
                        await part._worker.do(str, None)  # after what it does now
                await asyncio.sleep(0)
                calm = calm + 1 if self.is_quiet() else 0

    def settle(self) -> None:
        """Wait, look at all that came, and compare what everybody has with what a GET answers."""
        self.run(self.quiet())
        for screen in self.screens:
            screen.review()
        users = fresh({screen.person for screen in self.screens})
        for screen in list(self.screens):
            stays = is_there(users[screen.person]) and not screen.is_over
            if screen.code is None and not self.is_lossy:
                assert stays, f"{screen.person} has to go, and is still connected"
                screen.had_to_go = False
                if screen.reading.is_set():
                    screen.settle()
            if screen.code is not None:
                self.close(screen)

    def end(self) -> None:
        self.gate.open()
        try:
            for screen in list(self.screens):
                self.close(screen)
            self.run(self.hear())
            self.run(sync_to_async(connections.close_all)())
        finally:
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()


def queued() -> bool:
    """Whether the channel layer has something that was not received."""
    layer: Any = get_channel_layer()
    return any(not queue.empty() for queue in layer.channels.values())
