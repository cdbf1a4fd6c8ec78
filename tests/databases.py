"""Runs the tests on SQLite and on PostgreSQL side by side: ``python databases.py [ARGUMENT OF PYTEST …]``.

What they say on SQLite is shown at once, what they say on PostgreSQL after it. Who interrupts or terminates this ends
both, and the servers that they have started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

COVERAGE = [sys.executable, "-m", "coverage"]
NO_TESTS = 5  # pytest's exit code where it found none


def main(arguments: list[str]) -> int:
    """The exit code: of the tests if they fail on one database, else of the coverage over both."""
    # The arguments may have named nothing but what runs on one of the databases only.
    known = [code for code in run_both(arguments) if not (arguments and code == NO_TESTS)]
    if code := next(filter(None, known), 0 if known else NO_TESTS):
        return code
    # Given arguments, some tests may not have run, and what they would have covered is not asked for.
    steps = ["combine --quiet", *([] if arguments else ["report"])]
    codes = (subprocess.run([*COVERAGE, *step.split()], cwd=servers.ROOT, check=False).returncode for step in steps)
    return next(filter(None, codes), 0)


def run_both(arguments: list[str]) -> tuple[int, int]:
    """The exit codes of pytest, on SQLite and on PostgreSQL."""
    with tempfile.TemporaryFile("w+") as log, servers.postgresql() as url:
        # Some bring servers of their own, PostgreSQL among them, and run once: the ones here, the others there.
        on_sqlite = ["--ignore=tests/bench", *arguments]
        on_postgresql = ["--ignore=tests/journeys", "--ignore=tests/faults", *arguments]
        try:
            with (
                running("postgresql", on_postgresql, url, stdout=log, stderr=subprocess.STDOUT) as postgresql,
                running("sqlite", on_sqlite) as sqlite,
            ):
                print("== SQLite", flush=True)
                return sqlite.wait(), postgresql.wait()
        finally:
            print("== PostgreSQL", flush=True)
            log.seek(0)
            shutil.copyfileobj(log, sys.stdout)


@contextlib.contextmanager
def running(database: str, arguments: list[str], url: str = "", **options: Any) -> Iterator[subprocess.Popen]:
    """Pytest on a database, with files of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    run = subprocess.Popen(
        [
            *COVERAGE,
            "run",
            f"--data-file=.coverage.{database}",
            "-m",
            "pytest",
            f"--override-ini=cache_dir=.pytest_cache/{database}",
            *arguments,
        ],
        cwd=servers.ROOT,
        env={**environment, **({"DATABASE_URL": url} if url else {})},
        process_group=0,  # Ctrl-C reaches them by us, and once
        **options,
    )
    try:
        yield run
    finally:
        servers.end(run)


if __name__ == "__main__":
    # A shell that puts this into the background has it ignore Ctrl-C, which pytest would ignore too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
