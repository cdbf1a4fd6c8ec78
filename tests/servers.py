"""Servers of the tests' own, each on a free port, with data that goes when it ends: nobody else's is touched.

As a command, ``python servers.py postgresql -- COMMAND …`` runs the command with ``DATABASE_URL`` set to such a server.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60  # seconds that a server may take to start or to end
# Seconds: with such a SWEEP_PERIOD no sweep comes, of which the first comes at a random moment of the period.
NO_SWEEP = 10**9


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Look again and again, and fail after ``PATIENCE``."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE} s for {what}")
        time.sleep(0.02)


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Server:
    """A server process that can be broken and started again on its port; it is ready when ``start`` returns.

    Its output is kept, in ``log`` if that is given, and shown when it does not come up.
    """

    def __init__(
        self, command: list[str], what: str, ready: Callable[[], bool], log: Path | None = None, **options: Any
    ) -> None:
        self._command = command
        self._what = what
        self._ready = ready
        self._output = open(log, "a+b") if log else tempfile.TemporaryFile("a+b")  # noqa: SIM115  # stop() closes it
        self._options = {"stdout": self._output, "stderr": subprocess.STDOUT, **options}
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        try:
            self.process = subprocess.Popen(self._command, **self._options)
            wait_until(self._is_up, self._what)
        except BaseException:
            self.stop()
            raise

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self._what} ended at once:\n{self.output()}")
        return self._ready()

    def stop(self) -> None:
        """For good."""
        if self.process is not None:
            self.resume()
            end(self.process)
        self._output.close()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(PATIENCE)

    def pause(self) -> None:
        """It keeps its connections and does nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")


@contextlib.contextmanager
def process(
    command: list[str], what: str, ready: Callable[[], bool], log: Path | None = None, **options: Any
) -> Iterator[subprocess.Popen]:
    """A server process, ended and waited for at the end; its output is shown when it does not come up, and stands in
    ``log`` if that is given."""
    with Server(command, what, ready, log, **options) as server:
        yield server.process


def end(*running: subprocess.Popen) -> None:
    """Interrupt processes, all at once, and wait for them; kill those that do not end."""
    for one in running:
        if one.poll() is None:
            one.send_signal(signal.SIGINT)
    for one in running:
        try:
            one.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()


def program(name: str, *places: str) -> str:
    found = shutil.which(name) or next((path for place in places for path in sorted(Path("/").glob(place))), None)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; scripts/test says how to get it.")
    return str(found)


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """The URL of an empty Redis."""
    with redis_process() as (url, _):
        yield url


@contextlib.contextmanager
def redis_process(*arguments: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """The same, with its process."""
    port = free_port()
    with redis_server(port, *arguments) as running:
        yield f"redis://127.0.0.1:{port}/0", running.process


def redis_server(port: int, *arguments: str) -> Server:
    """A Redis that keeps nothing, unless the arguments say so."""
    alone = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    command = [program("redis-server"), "--port", str(port), *alone, *arguments]
    return Server(command, "Redis", lambda: accepts(port))


@contextlib.contextmanager
def sentinel(name: str) -> Iterator[tuple[int, subprocess.Popen]]:
    """The port of a Redis Sentinel that watches over a master, called so, and its replica; and the master's process."""
    port = free_port()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="livegate-sentinel-"))
        keeping = ["--dir", folder, "--repl-diskless-sync-delay", "0"]  # a replica writes down what it is sent first
        url, master = stack.enter_context(redis_process(*keeping))
        of_master = str(port_of(url))
        replica, _ = stack.enter_context(redis_process(*keeping, "--replicaof", f"127.0.0.1 {of_master}"))
        wait_until(lambda: told(port_of(replica), "INFO").get("master_link_status") == "up", "the replica")
        file = Path(folder) / "sentinel.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {of_master} 1\n"
            f"sentinel down-after-milliseconds {name} 300\nsentinel failover-timeout {name} 5000\n"
        )
        command = [program("redis-server"), str(file), "--sentinel"]
        stack.enter_context(process(command, "Sentinel", lambda: accepts(port)))
        wait_until(lambda: told(port, "INFO")["master0"]["slaves"] == 1, "Sentinel to find the replica")
        yield port, master


def port_of(url: str) -> int:
    return int(urlparse(url).port or 0)


def told(port: int, *command: str) -> Any:
    """What a Redis answers."""
    with Redis(port=port, decode_responses=True) as client:
        return client.execute_command(*command)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """The URL of an empty database in a PostgreSQL cluster."""
    with postgresql_server() as (url, _):
        yield url


@contextlib.contextmanager
def postgresql_server() -> Iterator[tuple[str, Server]]:
    """The same, with its server."""
    place = "usr/lib/postgresql/*/bin"
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="livegate-postgresql-") as folder:
        # PostgreSQL refuses to run as root, and Debian's package brings a user for it.
        become: dict[str, Any] = {}
        if os.getuid() == 0:
            become = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(folder, "postgres")
        data = str(Path(folder) / "data")
        setup = [program("initdb", f"{place}/initdb"), "-D", data, "-U", "livegate", "-A", "trust", "--no-sync"]
        subprocess.run(setup, check=True, stdout=subprocess.DEVNULL, cwd=folder, **become)
        server = [program("postgres", f"{place}/postgres"), "-D", data, "-p", str(port), "-k", folder]
        client = [program("psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "livegate", "-d", "postgres", "-c"]

        def answers() -> bool:
            asked = subprocess.run([*client, "SELECT 1"], capture_output=True, check=False)
            return asked.returncode == 0

        options = ["-h", "127.0.0.1", "-c", "fsync=off"]
        with Server([*server, *options], "PostgreSQL", answers, cwd=folder, **become) as running:
            subprocess.run([*client, "CREATE DATABASE livegate"], check=True, stdout=subprocess.DEVNULL)
            yield f"postgresql://livegate@127.0.0.1:{port}/livegate", running


@contextlib.contextmanager
def site(environment: dict[str, str]) -> Iterator[str]:
    """The address of the example site, loaded with the demonstration, in a uvicorn process of its own."""
    load(environment)
    with uvicorn(environment) as (address, _):
        yield address


def load(environment: dict[str, str]) -> None:
    """Fill the database of the example site with the demonstration."""
    manage(environment, "shell", "-v0", "-c", LOAD)


# In one process: to start one is most of what takes time here.
LOAD = "from django.core.management import call_command as call; call('migrate', verbosity=0); call('load_demo')"


@contextlib.contextmanager
def uvicorn(
    environment: dict[str, str],
    *arguments: str,
    application: str = "config.asgi:application",
    log: Path | None = None,
) -> Iterator[tuple[str, subprocess.Popen]]:
    """The address of the example site, with what its database holds, and the uvicorn process that serves it."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), *arguments]
    options: dict[str, Any] = {"cwd": ROOT / "example_site", "env": site_env(environment)}
    with process(command, "uvicorn", lambda: accepts(port), log, **options) as running:
        yield f"127.0.0.1:{port}", running


def manage(environment: dict[str, str], *arguments: str) -> str:
    """What a management command of the example site prints, in a process of its own."""
    run = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT / "example_site",
        env=site_env(environment),
        check=True,
        capture_output=True,
        text=True,
    )
    return run.stdout


def site_env(environment: dict[str, str]) -> dict[str, str]:
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", **environment}


if __name__ == "__main__":
    kind, separator, *command = sys.argv[1:]
    if kind != "postgresql" or separator != "--":
        sys.exit(__doc__)
    with postgresql() as url:
        sys.exit(subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode)
