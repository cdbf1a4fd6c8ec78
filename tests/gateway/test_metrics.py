"""Metrics: what happened is counted, from any thread, and what never happened is 0."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import pytest

from livegate.gateway import metrics
from livegate.gateway.metrics import Count, count, counts


@pytest.fixture(autouse=True)
def from_nothing(monkeypatch):
    monkeypatch.setattr(metrics, "_counts", Counter())


def test_what_never_happened_is_0():
    assert counts() == dict.fromkeys(get_args(Count), 0)


def test_what_happens_is_counted():
    count("evaluations")
    count("views_shared", 300)
    count("views_shared", 2)

    assert counts() == {**dict.fromkeys(get_args(Count), 0), "evaluations": 1, "views_shared": 302}


def test_what_was_given_out_does_not_change():
    before = counts()

    count("canaries")

    assert before["canaries"] == 0


def test_nothing_is_lost_between_threads():
    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(lambda: [count("views_alone") for _ in range(2_000)])

    assert counts()["views_alone"] == 8_000
