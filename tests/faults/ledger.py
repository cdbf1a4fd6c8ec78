"""The ledger: a PostgreSQL of its own, which can be killed and stopped, and two gateways that write it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import servers

from livegate.gateway.recorder import LONGEST_WAIT

from .site import Gateway, Writer, all_together, command
from .wire import Wire

if TYPE_CHECKING:
    from .site import Site

# So many entries the small gateway keeps while they can't be written.
SMALL = 5


class Ledger:
    """Cards are strictly on record in both gateways, boards when they are shown, and organizations are not.

    ``gateway`` has room for all entries, ``small`` for a few. Both have the database at the end of ``wire``; the
    ``auditor`` asks it directly.
    """

    def __init__(self, stack: contextlib.ExitStack, site: Site) -> None:
        url, self.postgresql = stack.enter_context(servers.postgresql_server())
        self._stopped: list[int] = []
        stack.callback(self.go_on)
        behind = urlsplit(url)
        self.wire = stack.enter_context(Wire(int(behind.port or 0)))
        through = behind._replace(netloc=f"livegate@127.0.0.1:{self.wire.port}").geturl()
        own = site.behind(site.redis_port)
        subprocess.run(command("migrate", "-v0", "--database", "ledger"), env={**own, "LEDGER_URL": url}, check=True)
        strict = {"LEDGER": "strict", "LEDGER_INTERVAL": 0.05, "SWEEP_PERIOD": servers.NO_SWEEP}
        self.gateway = Gateway({**own, "LEDGER_URL": through}, strict)
        self.small = Gateway({**own, "LEDGER_URL": through}, {**strict, "LEDGER_QUEUE": SMALL})
        self.auditor = Writer({**own, "LEDGER_URL": url}, "audit")
        processes = [self.gateway, self.small, self.auditor]
        stack.callback(all_together, processes, lambda process: process.stop())
        all_together(processes, lambda process: process.start())

    @property
    def gateways(self) -> list[Gateway]:
        return [self.gateway, self.small]

    # The faults, and their ends

    def kill(self) -> None:
        """All its processes, as when its host loses power."""
        killed = self._processes()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        self.postgresql.process.wait(servers.PATIENCE)
        servers.wait_until(lambda: not any(map(is_running, killed)), "the killed processes to end")

    def start(self) -> None:
        self.postgresql.start()

    def hang(self) -> None:
        """All its processes keep what they have, connections too, and do nothing."""
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)
            self._stopped.append(pid)

    def go_on(self) -> None:
        while self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._stopped.pop(), signal.SIGCONT)

    def _processes(self) -> list[int]:
        """The one that makes the others first."""
        first = self.postgresql.process.pid
        return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]

    def repair(self, site: Site) -> None:
        """Whatever a test has broken and not mended."""
        self.go_on()
        if self.postgresql.process.poll() is not None:
            self.start()
        self.wire.mend()
        site.state(self.gateway, wait=LONGEST_WAIT)

    def outputs(self) -> str:
        return "\n".join(process.output() for process in (*self.gateways, self.auditor))


def is_running(pid: int) -> bool:
    """Not where it ended, and nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
