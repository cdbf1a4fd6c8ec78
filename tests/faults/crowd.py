"""The crowd: all clients of a test, what they hold compared with the truth, and what is written meanwhile."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from .clients import Client, Key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .site import Gateway, Site

PEOPLE = ["amira", "ben", "cleo", "dev", ""]
# Seconds in which something is told where there is no fault.
PROMPT = 5
# Seconds after the end of a fault within which everybody holds the truth.
RECOVERY = 15
# Seconds that what is no fault may take.
PATIENCE = 30
# Seconds that a save may take. It takes milliseconds; what waits for the broker waits for as long as that is away.
SAVE_LIMIT = 1
# What a version begins with, or is added to; see the writer.
SALARIES = 1_000_000


@dataclass
class Written:
    """What became of the changes that were made: how many there were, what errors, and how long the slowest took."""

    commits: int = 0
    errors: list[str] = field(default_factory=list)
    database_errors: list[str] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def troubles(self) -> list[str]:
        slow = [f"a save took {self.slowest:.2f} s"] if self.slowest > SAVE_LIMIT else []
        none = [] if self.commits else ["nothing was written"]
        return [*self.errors, *self.database_errors, *slow, *none]


class Crowd:
    """``prepared`` is what the writer said when it made the cards. The truth is what ``witness`` answers to a GET."""

    def __init__(self, site: Site, witness: Gateway, prepared: Any) -> None:
        self.site = site
        self.witness = witness
        self.tokens: dict[str, str] = {**prepared["tokens"], "": ""}
        self.cards = [Key("board.Card", hashid) for hashid in prepared["cards"]]
        *self.random, self.patched, self.quiet = self.cards  # as they are changed; see the writer
        self.board = Key("board.Board", prepared["board"])
        self.organization = Key("board.Organization", prepared["organization"])
        self.clients: list[Client] = []

    def connect(self, name: str, address: str, *keys: Key, **options: Any) -> Client:
        """Somebody who watches these objects, all cards unless told otherwise."""
        offered = (
            {} if "additional_headers" in options else {"subprotocols": ["livegate", f"token.{self.tokens[name]}"]}
        )
        client = Client(name, address, keys or self.cards, **offered, **options)
        self.clients.append(client)
        return client

    async def end(self) -> None:
        await asyncio.gather(*(client.end() for client in self.clients))

    async def gather(self, *addresses: str) -> None:
        """Each of the people at each of these addresses."""
        for address in addresses:
            for name in PEOPLE:
                self.connect(name, address)
        await self.be_answered()

    async def gather_on_both(self, address: str) -> None:
        """Each of the people on each of the two processes at an address."""
        for name in PEOPLE:
            reached: dict[str, Client] = {}
            async with asyncio.timeout(PATIENCE):
                while len(reached) < 2:
                    client = self.connect(name, address)
                    await until(lambda client=client: client.processes, PATIENCE, lambda: "nobody answers")
                    if reached.setdefault(client.processes[0], client) is not client:
                        self.clients.remove(client)
                        await client.end()
        await self.be_answered()

    async def be_answered(self) -> None:
        """Everybody is subscribed to what they may see, and holds something or is refused."""
        await until(self.is_answered, PATIENCE, lambda: "Somebody waits for an answer.")

    def is_answered(self) -> bool:
        return all(not client.unanswered and client.is_informed for client in self.clients)

    async def be_told_of_delay(self) -> None:
        """Everybody is told that what they hold may be old."""
        await until(lambda: all(client.was_delayed for client in self.clients), RECOVERY, lambda: "Not all are told.")

    def views(self, key: Key) -> list[tuple[str, Any]]:
        """What each client holds of an object, in the order in which they came."""
        return [(client.name, client.views[key]) for client in self.clients]

    # The truth

    async def settle(self, *, within: float) -> None:
        """Within so many seconds everybody holds the truth; from then on they are told promptly; and nobody was ever
        shown what had not been theirs to see since it was written."""
        await self.come_to_know(within)
        await self.site.writer.do("rewrite")
        await self.come_to_know(PROMPT)
        log = await self.site.writer.do("end")
        forbidden = list(self.forbidden(log["allowed"]))
        assert forbidden == [], forbidden

    async def come_to_know(self, within: float) -> None:
        """Within so many seconds the views of everybody who is not away are those that a GET shows them, and nothing
        that they asked is unanswered."""
        truth = await self.truth()
        for client in self.clients:
            if client.is_welcome and client.may_connect.is_set():
                await client.ask(client.refused)
        await until(lambda: not self.errors(truth), within, lambda: self.describe(self.errors(truth), within))

    async def truth(self) -> dict[tuple[str, Key], Any]:
        wanted = {(client.name, key) for client in self.clients for key in client.views}
        gets = (asyncio.to_thread(self.site.get, self.witness, self.tokens[name], key) for name, key in wanted)
        return dict(zip(wanted, await asyncio.gather(*gets), strict=True))

    def errors(self, truth: dict[tuple[str, Key], Any]) -> list[str]:
        """Where somebody's view is another than the truth, or they wait for an answer."""
        found = []
        for client in self.clients:
            if not client.is_welcome or not client.may_connect.is_set():
                continue
            if client.task.done():
                client.task.result()
            if client.is_delayed:
                found.append(f"{client.name or 'anonymous'} was told to be delayed, and not that this is over")
            for key, view in client.views.items():
                if view != truth[client.name, key] or key in client.unanswered:
                    waits = ", and waits for an answer" if key in client.unanswered else ""
                    found.append(f"{client.name or 'anonymous'} holds {view}, not {truth[client.name, key]}{waits}")
        return found

    def describe(self, errors: list[str], within: float) -> str:
        return "\n".join([f"{within} s later {len(errors)} views are not the truth, for example", *errors[:3]])

    @property
    def thrown_out(self) -> list[tuple[str, int]]:
        """Whose connection was ended, and by which code."""
        return [(client.name, code) for client in self.clients for code in client.closed_with]

    def forbidden(self, allowed: dict[str, dict[str, list[str]]]) -> Any:
        """Who was shown a version of a field that they never had a right to see while it was current."""
        for client in self.clients:
            for frame in client.updates:
                payload, meta = frame["payload"], frame["meta"]
                if Key(meta["model"], meta["id"]) in self.random:
                    versions = {"title": payload["title"][1:], "notes": payload.get("notes", "")[1:]}
                    versions["salary"] = str(payload.get("salary", SALARIES) - SALARIES)
                    for name in versions.keys() & payload.keys():
                        if client.name not in allowed[name].get(versions[name], []):
                            yield client.name, name, versions[name]

    # What is written meanwhile

    @asynccontextmanager
    async def writing(self, *patched: Gateway) -> AsyncIterator[Written]:
        """The writer changes things at random, and somebody changes a card through these gateways."""
        written = Written()
        is_enough = asyncio.Event()
        await self.site.writer.do("begin")
        patching = asyncio.create_task(self._patch(patched, written, is_enough))
        try:
            yield written
        finally:
            is_enough.set()
            await patching
            log = await self.site.writer.do("end")
            written.commits += log["commits"]
            written.errors += log["errors"]
            written.database_errors += log["database_errors"]
            written.slowest = max(written.slowest, log["slowest"])

    async def _patch(self, gateways: tuple[Gateway, ...], written: Written, is_enough: asyncio.Event) -> None:
        for number in count():
            for gateway in gateways:
                begun = time.monotonic()
                change = {"title": f"Patched {number} times"}
                try:
                    await asyncio.to_thread(self.site.patch, gateway, self.tokens["amira"], self.patched, change)
                except OSError as error:
                    written.errors.append(repr(error))
                written.slowest = max(written.slowest, time.monotonic() - begun)
            try:
                async with asyncio.timeout(0.05):
                    await is_enough.wait()
                return
            except TimeoutError:
                continue


async def until(true: Callable[[], Any], within: float, what: Callable[[], str]) -> None:
    """Look again and again, and fail after so many seconds."""
    deadline = time.monotonic() + within
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(what())
        await asyncio.sleep(0.02)
