"""Runs the tests on SQLite and on PostgreSQL side by side: ``python databases.py [ARGUMENT OF PYTEST …]``.

Beside both run those that bring servers of their own, and wait for them most of the time. What is said on SQLite is
shown at once, all else after it. Who interrupts or terminates this ends all, and the servers that they have started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import servers

if TYPE_CHECKING:
    from collections.abc import Iterable

COVERAGE = [sys.executable, "-m", "coverage"]
NO_TESTS = 5  # pytest's exit code where it found none
# What coverage is reckoned from, for with it the tests take nearly twice as long. On SQLite all, but those that search
# at random for what nobody thought of; on PostgreSQL those of what is asked there in another way.
SEARCHING = ("tests/gateway/test_privacy.py", "tests/gateway/test_fuzz.py")
ASKING_OTHERWISE = (
    *("tests/gateway/test_snapshots.py", "tests/gateway/audit/test_lookups.py"),
    *("tests/permissions/test_aggregates.py", "tests/permissions/test_grants.py", "tests/permissions/test_lookups.py"),
)
# Those that bring servers of their own, PostgreSQL among them, run once.
ON_SQLITE_ONLY, BRINGING_SERVERS = ("tests/journeys",), ("tests/bench", "tests/faults")

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"

# The arguments of one run of pytest, and whether coverage is reckoned from it.
Run = tuple[list[str], bool]


def main(arguments: list[str]) -> int:
    """The exit code: of the tests if they fail on one database, else of the coverage over both."""
    # The arguments may have named nothing but what runs on one of the databases only.
    known = [code for code in run_all(arguments) if not (arguments and code == NO_TESTS)]
    if code := next(filter(None, known), 0 if known else NO_TESTS):
        return code
    # Given arguments, some tests may not have run, and what they would have covered is not asked for.
    steps = [] if arguments else ["combine --quiet", "report"]
    codes = (subprocess.run([*COVERAGE, *step.split()], cwd=servers.ROOT, check=False).returncode for step in steps)
    return next(filter(None, codes), 0)


def run_all(arguments: list[str]) -> list[int]:
    """The exit codes of pytest, of all runs."""
    waiting = runs(arguments)
    under_way: dict[str, subprocess.Popen] = {}
    codes: list[int] = []
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(servers.postgresql())
        logs = {name: stack.enter_context(tempfile.TemporaryFile("w+")) for name in waiting if name != SQLITE}
        print(f"== {SQLITE}", flush=True)
        try:
            while any(waiting.values()) or under_way:
                for name, left in waiting.items():
                    if name in under_way and under_way[name].poll() is not None:
                        codes.append(under_way.pop(name).returncode)
                    if left and name not in under_way:
                        under_way[name] = start(name, *left.pop(0), url if name == POSTGRESQL else "", logs.get(name))
                time.sleep(0.1)
        finally:
            servers.end(*under_way.values())
            for name, log in logs.items():
                print(f"== {name}", flush=True)
                log.seek(0)
                shutil.copyfileobj(log, sys.stdout)
    return codes


def runs(arguments: list[str]) -> dict[str, list[Run]]:
    """What is run side by side, each time one after the other."""
    if arguments:
        return {
            POSTGRESQL: [([*without(ON_SQLITE_ONLY), *arguments], False)],
            SQLITE: [([*without(BRINGING_SERVERS), *arguments], False)],
        }
    elsewhere = without(BRINGING_SERVERS)
    return {
        POSTGRESQL: [
            ([*ASKING_OTHERWISE], True),
            ([*elsewhere, *without(ON_SQLITE_ONLY), *without(ASKING_OTHERWISE)], False),
        ],
        SQLITE: [([*elsewhere, *without(SEARCHING)], True), ([*SEARCHING], False)],
        "Servers of their own": [([*BRINGING_SERVERS], False)],
    }


def without(paths: Iterable[str]) -> list[str]:
    return [f"--ignore={path}" for path in paths]


def start(name: str, arguments: list[str], is_covered: bool, url: str, log: Any) -> subprocess.Popen:
    """Pytest, with files of its own, on the database at a URL, if one is given."""
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    files = name.replace(" ", "-").lower()
    covering = [*COVERAGE[1:], "run", f"--data-file=.coverage.{files}"] if is_covered else []
    cache = f"--override-ini=cache_dir=.pytest_cache/{files}"
    return subprocess.Popen(
        [sys.executable, *covering, "-m", "pytest", cache, *arguments],
        cwd=servers.ROOT,
        env={**environment, **({"DATABASE_URL": url} if url else {})},
        process_group=0,  # Ctrl-C reaches them by us, and once
        stdout=log,
        stderr=log and subprocess.STDOUT,
    )


if __name__ == "__main__":
    # A shell that puts this into the background has it ignore Ctrl-C, which pytest would ignore too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
