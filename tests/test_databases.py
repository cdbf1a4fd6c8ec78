"""The tests side by side: who interrupts them ends all."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from types import SimpleNamespace

import databases
import pytest
import servers

# Ends when it and the others were interrupted.
RUN = """
import signal, sys, time
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)
folder, name = Path(sys.argv[1]), sys.argv[2]
try:
    (folder / f"{name} runs").touch()
    while True:
        time.sleep(0.01)
except KeyboardInterrupt:
    (folder / f"{name} was told").touch()
    while len(list(folder.glob("* was told"))) < 3:
        time.sleep(0.01)
"""


def test_who_interrupts_the_tests_ends_all_of_them_at_once(monkeypatch, tmp_path):
    runs = []

    def start(name, *_):
        runs.append(subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), name], process_group=0))
        return runs[-1]

    def interrupt(seconds):
        if len(list(tmp_path.glob("* runs"))) == 3:
            raise KeyboardInterrupt
        time.sleep(seconds)

    monkeypatch.setattr(databases, "start", start)
    monkeypatch.setattr(databases, "time", SimpleNamespace(sleep=interrupt))
    monkeypatch.setattr(servers, "postgresql", lambda: contextlib.nullcontext(""))
    with pytest.raises(KeyboardInterrupt):
        databases.run_all([])

    assert [run.returncode for run in runs] == [0, 0, 0]
