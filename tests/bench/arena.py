"""The arena: the processes in which one contestant is measured, each on its core, and what they are told."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import servers

from . import rights
from .contestants import VARIABLE, Contestant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PATIENCE = 300  # seconds that any command may take
PATH = os.pathsep.join(str(servers.ROOT / folder) for folder in ("tests", "example_site"))
LABEL = "bench.Card"


class Invalid(Exception):
    """A round in which a message was missing, wrong or too much; what it measured does not count."""


@dataclass(frozen=True)
class Ground:
    """A populated database, which all contestants of a run share, and a broker."""

    database: str
    environment: dict[str, str]
    hashids: list[str]
    cards: int  # with three viewers each, not counting the first card
    server_core: int
    postgresql: servers.Server | None = None

    @property
    def common(self) -> range:
        """The cards that everyone may see, beside the first."""
        return range(self.cards + 1, len(self.hashids))


@contextlib.contextmanager
def ground(
    database: str, redis_url: str, server_core: int, *, viewers: int, cards: int, keep_connections: bool = False
) -> Iterator[Ground]:
    """A database of its own, ``"sqlite"`` or ``"postgresql"``, filled with so many viewers and cards."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="livegate-bench-"))
        url, postgresql = f"sqlite:///{folder}/bench.sqlite3", None
        if database == "postgresql":
            url, postgresql = stack.enter_context(servers.postgresql_server())
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
            "DJANGO_SETTINGS_MODULE": "bench.settings",
            "PYTHONPATH": PATH,
            **({"BENCH_KEEP_CONNECTIONS": "1"} if keep_connections else {}),
        }
        populated = subprocess.run(
            command("population", max(viewers, cards * rights.VIEWERS_PER_CARD), cards),
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
        )
        yield Ground(database, environment, json.loads(populated.stdout), cards, server_core, postgresql)


@contextlib.contextmanager
def apart(ground: Ground, settings: Mapping[str, str]) -> Iterator[Ground]:
    """The same database, with a broker of its own, so that what is done there is heard of nowhere else; and with these
    environment variables."""
    with servers.redis() as url:
        yield replace(ground, environment={**ground.environment, **settings, "REDIS_URL": url})


class Child:
    """A process that carries out commands, each a line of JSON on its standard input."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.unread = b""

    def tell(self, line: Any) -> None:
        self.process.stdin.write(json.dumps(line).encode() + b"\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]

    def start(self, name: str, **arguments: Any) -> None:
        """Have a command carried out, and don't wait for it."""
        self.tell([name, arguments])

    def finish(self) -> Any:
        """The reply to the earliest command that has not been asked for its reply."""
        output = self.process.stdout.fileno()  # type: ignore[union-attr]
        while b"\n" not in self.unread:
            if not select.select([output], [], [], PATIENCE)[0]:
                raise TimeoutError(f"{self.process.args} did not reply within {PATIENCE} s")
            came = os.read(output, 1 << 20)
            if not came:
                raise RuntimeError(f"{self.process.args} ended; what it said stands above")
            self.unread += came
        line, _, self.unread = self.unread.partition(b"\n")
        return json.loads(line)

    def do(self, name: str, **arguments: Any) -> Any:
        self.start(name, **arguments)
        return self.finish()


class Arena:
    """One contestant's server, writer and clients, fresh for one round."""

    def __init__(
        self,
        contestant: Contestant,
        ground: Ground,
        port: int,
        writer: Child,
        clients: Child,
        log: Path,
        server: servers.Server,
    ) -> None:
        self.contestant = contestant
        self.ground = ground
        self.port = port
        self.writer = writer
        self.clients = clients
        self.log = log
        self.server = server
        self.done: tuple[int, int] = (0, 0)  # the descriptors of the pipe from the clients to the writer

    def open(
        self,
        viewers: Sequence[int],
        cards: Sequence[int],
        subscribe: bool = True,
        sessions: Mapping[int, str] | None = None,
    ) -> float:
        """Connect viewers, each to be subscribed to the card of the same position, all at once, and with the session
        of this key, if any. Gives the seconds until the last one was answered."""
        sockets = [self.socket(viewer, card, subscribe) for viewer, card in zip(viewers, cards, strict=True)]
        for viewer, socket in zip(viewers, sockets, strict=True):
            if sessions and viewer in sessions:
                socket["path"] += f":{sessions[viewer]}"
        return self.checked(self.clients.do("open", port=self.port, patience=PATIENCE / 2, sockets=sockets))["took"]

    def subscribe(self, cards: Sequence[Sequence[int]]) -> None:
        """Subscribe every viewer, in the order in which they were connected, to more cards."""
        wishes = [[self.subscription(self.ground.hashids[card]) for card in some] for some in cards]
        self.checked(self.clients.do("subscribe", patience=PATIENCE / 2, wishes=wishes))

    def socket(self, viewer: int, card: int, subscribe: bool) -> dict[str, Any]:
        fixed = {"id": self.ground.hashids[card]}
        seen = rights.seen(self.contestant.shows, viewer, card)
        if "viewer" in seen["fields"]:
            fixed["viewer"] = rights.username(viewer)
        return {
            "name": rights.username(viewer),
            "card": card,
            "path": f"/ws/notifications/?{viewer}",
            "payload": self.contestant.payload,
            "subscribe": [self.subscription(self.ground.hashids[card])] if subscribe else [],
            "fixed": fixed,
            **seen,
        }

    def subscription(self, hashid: str) -> str:
        """The message that subscribes to a card, the same for all contestants."""
        asked = {"action": "subscribe", "model": LABEL, "id": hashid, "request_id": 1}
        return json.dumps(asked)

    def counters(self, path: str = "/") -> dict[str, float]:
        """What the server has counted since its start."""
        return counters(self.port, path)

    def checked(self, reply: dict[str, Any]) -> dict[str, Any]:
        """The reply of the clients; raises Invalid if they found a fault, or the server logged an error."""
        faults = reply.get("faults", [])
        logged = self.log.read_text().strip().splitlines() if self.log.exists() else []
        if faults or logged:
            more = f" (and {reply['fault_count'] - 1} more)" if reply.get("fault_count", 0) > 1 else ""
            found = [*(fault + more for fault in faults[:1]), *logged[:1]]
            raise Invalid(f"{self.contestant.name}: {'; '.join(found)}")
        return reply


def counters(port: int, path: str = "/") -> dict[str, float]:
    """What the server on a port has counted since its start."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as response:
        counted: dict[str, float] = json.loads(response.read())
        return counted


def server(port: int, ground: Ground, environment: dict[str, str]) -> servers.Server:
    """A contestant's server, to be started; the environment says whose it is."""
    return servers.Server(
        command("server", port, ground.server_core), "the server", lambda: servers.accepts(port), env=environment
    )


@contextlib.contextmanager
def arena(contestant: Contestant, ground: Ground) -> Iterator[Arena]:
    """Start the processes of a round, and end them."""
    port = servers.free_port()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="livegate-bench-"))
        log = Path(folder) / "server.log"
        environment = {**ground.environment, VARIABLE: contestant.name, "BENCH_LOG": str(log)}
        done = os.pipe()
        for descriptor in done:
            stack.callback(os.close, descriptor)
        writer = stack.enter_context(child("writer", {**environment, "BENCH_LOG": os.devnull}, done[:1]))
        writer.tell(ground.hashids)
        clients = stack.enter_context(child("clients", environment, done[1:]))
        running = stack.enter_context(server(port, ground, environment))
        opened = Arena(contestant, ground, port, writer, clients, log, running)
        opened.done = done
        yield opened
        clients.do("close")


@contextlib.contextmanager
def child(module: str, environment: dict[str, str], descriptors: Sequence[int]) -> Iterator[Child]:
    process = subprocess.Popen(
        command(module),
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=descriptors,
    )
    with process:
        try:
            yield Child(process)
        finally:
            process.kill()


@contextlib.contextmanager
def cores() -> Iterator[int]:
    """The core that is the server's. All that is started here meanwhile, brokers, databases and clients, stays away
    from it, unless there is no other."""
    allowed = os.sched_getaffinity(0)
    first, *others = sorted(allowed)
    os.sched_setaffinity(0, others or [first])
    try:
        yield first
    finally:
        os.sched_setaffinity(0, allowed)


def command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"bench.{module}", *map(str, arguments)]
