"""Runs the tests on SQLite and on PostgreSQL side by side: ``python databases.py [ARGUMENT OF PYTEST …]``.

What they say on SQLite is shown at once, what they say on PostgreSQL after it. Who interrupts or terminates this ends
both, and the servers that they have started.
"""

from __future__ import annotations

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
# Some bring servers of their own, PostgreSQL among them, and run once: the first here, the others there.
ON_SQLITE_ONLY, ON_POSTGRESQL_ONLY = ("tests/journeys",), ("tests/bench", "tests/faults")

# The arguments of one run of pytest, and whether coverage is reckoned from it.
Run = tuple[list[str], bool]


def main(arguments: list[str]) -> int:
    """The exit code: of the tests if they fail on one database, else of the coverage over both."""
    # The arguments may have named nothing but what runs on one of the databases only.
    known = [code for code in run_both(arguments) if not (arguments and code == NO_TESTS)]
    if code := next(filter(None, known), 0 if known else NO_TESTS):
        return code
    # Given arguments, some tests may not have run, and what they would have covered is not asked for.
    steps = [] if arguments else ["combine --quiet", "report"]
    codes = (subprocess.run([*COVERAGE, *step.split()], cwd=servers.ROOT, check=False).returncode for step in steps)
    return next(filter(None, codes), 0)


def run_both(arguments: list[str]) -> list[int]:
    """The exit codes of pytest, of all runs on SQLite and on PostgreSQL."""
    waiting = {"postgresql": runs_on_postgresql(arguments), "sqlite": runs_on_sqlite(arguments)}
    under_way: dict[str, subprocess.Popen] = {}
    codes: list[int] = []
    with tempfile.TemporaryFile("w+") as log, servers.postgresql() as url:
        options = {"postgresql": {"url": url, "stdout": log, "stderr": subprocess.STDOUT}, "sqlite": {}}
        print("== SQLite", flush=True)
        try:
            while any(waiting.values()) or under_way:
                for database, runs in waiting.items():
                    if database in under_way and under_way[database].poll() is not None:
                        codes.append(under_way.pop(database).returncode)
                    if runs and database not in under_way:
                        under_way[database] = start(database, *runs.pop(0), **options[database])
                time.sleep(0.1)
        finally:
            for run in under_way.values():
                servers.end(run)
            print("== PostgreSQL", flush=True)
            log.seek(0)
            shutil.copyfileobj(log, sys.stdout)
    return codes


def runs_on_sqlite(arguments: list[str]) -> list[Run]:
    elsewhere = without(ON_POSTGRESQL_ONLY)
    if arguments:
        return [([*elsewhere, *arguments], False)]
    return [([*elsewhere, *without(SEARCHING)], True), ([*SEARCHING], False)]


def runs_on_postgresql(arguments: list[str]) -> list[Run]:
    elsewhere = without(ON_SQLITE_ONLY)
    if arguments:
        return [([*elsewhere, *arguments], False)]
    return [([*ASKING_OTHERWISE], True), ([*elsewhere, *without(ASKING_OTHERWISE)], False)]


def without(paths: Iterable[str]) -> list[str]:
    return [f"--ignore={path}" for path in paths]


def start(database: str, arguments: list[str], is_covered: bool, url: str = "", **options: Any) -> subprocess.Popen:
    """Pytest on a database, with files of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    covering = [*COVERAGE[1:], "run", f"--data-file=.coverage.{database}"] if is_covered else []
    cache = f"--override-ini=cache_dir=.pytest_cache/{database}"
    return subprocess.Popen(
        [sys.executable, *covering, "-m", "pytest", cache, *arguments],
        cwd=servers.ROOT,
        env={**environment, **({"DATABASE_URL": url} if url else {})},
        process_group=0,  # Ctrl-C reaches them by us, and once
        **options,
    )


if __name__ == "__main__":
    # A shell that puts this into the background has it ignore Ctrl-C, which pytest would ignore too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
