"""The site: Redis, PostgreSQL, three gateways and a writer, all of the tests' own, and wires between them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import servers

from .wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .clients import Key

PATHS = {"board.Card": "cards", "board.Board": "boards", "board.Organization": "organizations"}
# Seconds that the channel layer may take, between two calls into it, and that a client may take nothing.
SEND_TIMEOUT = 1
HEARTBEAT = 0.5
SLOW_CLIENT_TIMEOUT = 1
# Of the strict gateway: seconds between sweeps, and within which one has found what no notice told; seconds between
# pings, and for a client to answer them.
SWEEP_PERIOD = 0.5
SWEPT = 8
PING_INTERVAL = 1
PING_TIMEOUT = 2
QUIET = ["--log-level", "warning", "--lifespan", "off"]


class Gateway(servers.Server):
    """Uvicorn on a port of its own."""

    def __init__(self, environment: dict[str, str], livegate: dict[str, Any], *options: str) -> None:
        port = servers.free_port()
        self.address = f"127.0.0.1:{port}"
        self.port = port
        brief = {"SEND_TIMEOUT": SEND_TIMEOUT, "HEARTBEAT": HEARTBEAT, "SLOW_CLIENT_TIMEOUT": SLOW_CLIENT_TIMEOUT}
        super().__init__(
            [sys.executable, "-m", "uvicorn", "faults.asgi:application", "--port", str(port), *QUIET, *options],
            "uvicorn",
            lambda: servers.accepts(port),
            env={**environment, "LIVEGATE": json.dumps({**brief, **livegate})},
        )


class Writer:
    """The writer's process, or that of another management command, which does as told."""

    def __init__(self, environment: dict[str, str], name: str = "write") -> None:
        self._environment = environment
        self._name = name
        self._telling = threading.Lock()
        self._errors = tempfile.TemporaryFile("a+b")  # noqa: SIM115  # closed by stop()
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors, "text": True}
        self._process = subprocess.Popen(command(self._name), env=self._environment, **pipes)
        assert self._hear() == "ready"

    async def do(self, name: str, /, **arguments: Any) -> Any:
        return await asyncio.to_thread(self._do, name, arguments)

    def _do(self, name: str, arguments: dict[str, Any]) -> Any:
        with self._telling:
            self._process.stdin.write(json.dumps([name, arguments]) + "\n")
            self._process.stdin.flush()
            return self._hear()

    def _hear(self) -> Any:
        answer = self._process.stdout.readline()
        assert answer, f"{self._name} has ended:\n{self.output()}"
        return json.loads(answer)

    def output(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def stop(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(servers.PATIENCE)
            self._process.stdout.close()
        self._errors.close()


class Site:
    """``gateway`` is one process; ``workers`` are two on one port; ``strict`` is one that sweeps often and pings its
    clients, and whose clock can be set.

    No other sweeps while the tests run: what repairs itself there does so by something faster. ``gateway`` has Redis at
    the end of ``wire``, and the writer at the end of ``writers_wire``; ``to_gateway`` and ``to_strict`` lead clients.
    """

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="livegate-redis-"))
        self.redis_port = servers.free_port()
        keeping = ["--appendonly", "yes", "--dir", self._folder]
        url, self.postgresql = stack.enter_context(servers.postgresql_server())
        self.redis = stack.enter_context(servers.redis_server(self.redis_port, *keeping))
        self.wire, self.writers_wire = (stack.enter_context(Wire(self.redis_port)) for _ in range(2))

        path = os.pathsep.join(str(servers.ROOT / folder) for folder in ("tests", "example_site"))
        own = {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "faults.settings", "PYTHONPATH": path}
        self._environment = {**os.environ, **own}
        rarely, often = {"SWEEP_PERIOD": servers.NO_SWEEP}, {"SWEEP_PERIOD": SWEEP_PERIOD}
        pings = ["--ws-ping-interval", str(PING_INTERVAL), "--ws-ping-timeout", str(PING_TIMEOUT)]
        self.gateway = Gateway(self.behind(self.wire.port), rarely)
        self.workers = Gateway(self.behind(self.redis_port), rarely, "--workers", "2")
        self.strict = Gateway(self.behind(self.redis_port), often, *pings)
        self.writer = Writer(self.behind(self.writers_wire.port))
        self._processes = [self.writer, self.gateway, self.workers, self.strict]
        stack.callback(all_together, self._processes, lambda process: process.stop())
        all_together(self._processes, self._start)
        self.to_gateway, self.to_strict = (
            stack.enter_context(Wire(gateway.port)) for gateway in (self.gateway, self.strict)
        )
        self._wires = [self.wire, self.writers_wire, self.to_gateway, self.to_strict]

    def _start(self, process: Any) -> None:
        if process is self.writer:
            subprocess.run(command("migrate", "-v0"), env=self._environment, check=True)
        process.start()

    def behind(self, port: int) -> dict[str, str]:
        """The environment of a process that has Redis at this port."""
        return {**self._environment, "REDIS_URL": f"redis://127.0.0.1:{port}/0"}

    def forget_data(self) -> None:
        """Redis knows nothing any more when it starts again."""
        shutil.rmtree(Path(self._folder) / "appendonlydir")

    def repair(self) -> None:
        """Whatever a test has broken and not mended."""
        self.redis.resume()
        for server in (self.redis, self.postgresql, self.gateway):
            if server.process.poll() is not None:
                server.start()
        for wire in self._wires:
            wire.mend()
        self.state(self.strict, clock=0)

    async def command(self, name: str, port: int) -> subprocess.CompletedProcess[bytes]:
        """A management command that does one thing of the writer's and ends, with Redis at this port."""
        options = {"env": self.behind(port), "capture_output": True, "timeout": servers.PATIENCE}
        return await asyncio.to_thread(subprocess.run, command("write", name), check=False, **options)

    # What is asked of a gateway

    def get(self, gateway: Gateway, token: str, key: Key) -> Any:
        """What a GET shows of an object; None for nothing, whatever the reason."""
        try:
            return self._ask(gateway, path_of(key), token)
        except HTTPError as error:
            error.close()
            if error.code in (401, 403, 404, 500):
                return None
            raise

    def patch(self, gateway: Gateway, token: str, key: Key, change: dict[str, Any]) -> None:
        self._ask(gateway, path_of(key), token, method="PATCH", data=json.dumps(change).encode())

    def state(self, gateway: Gateway, **query: float) -> Any:
        """How a gateway is: what its hubs are named by in records, and its metrics. ``clock`` sets its clock first, and
        ``wait`` how many seconds a view may wait for its record."""
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        return self._ask(gateway, f"faults/?{asked}")

    def _ask(self, gateway: Gateway, path: str, token: str = "", **options: Any) -> Any:
        headers = {"Content-Type": "application/json", **({"Authorization": f"Token {token}"} if token else {})}
        request = Request(f"http://{gateway.address}/{path}", headers=headers, **options)
        with urlopen(request, timeout=servers.PATIENCE) as response:
            return json.loads(response.read())

    def outputs(self) -> str:
        return "\n".join(process.output() for process in self._processes)


def path_of(key: Key) -> str:
    return f"api/{PATHS[key.model]}/{key.id}/"


def all_together(processes: Iterable[Any], do: Callable[[Any], None]) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(do, processes))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "django", *arguments]


@contextlib.contextmanager
def opened() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(stack)
