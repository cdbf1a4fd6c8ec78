"""The questions: how long the ledger takes to answer, with a million entries in it.

As a command, ``python -m bench.questions ROWS TIMES``: fills the ledger of ``DATABASE_URL`` and prints the figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import timedelta
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from collections.abc import Callable

    from .arena import Arena
    from .workloads import Figures, Sizes

PAGE = 100


def questions(arena: Arena, sizes: Sizes) -> Figures:
    """Each question of the ledger, and the admin's list, some times over."""
    from .arena import command

    run = subprocess.run(
        command("questions", sizes.ledger_rows, sizes.ledger_times),
        env=arena.ground.environment,
        check=True,
        stdout=subprocess.PIPE,
    )
    figures: Figures = json.loads(run.stdout)
    return figures


def answer(rows: int, times: int) -> dict[str, dict[str, float]]:
    from board.models import Card
    from django.contrib.auth import get_user_model
    from django.db import connection
    from django.test import Client
    from django.utils import timezone
    from ledgers import CARDS, FIRST, USERS, fill

    from livegate.gateway.audit import ledger
    from livegate.gateway.audit.models import LedgerEntry

    users: Any = get_user_model()
    LedgerEntry.objects.all()._raw_delete("default")
    fill(rows)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM" if connection.vendor == "sqlite" else "VACUUM ANALYZE")
    browser = Client()
    browser.force_login(users.objects.create(username="auditor", is_staff=True, is_superuser=True))
    week = timezone.now() - timedelta(days=7)

    def page(query: str = "") -> None:
        found = browser.get(f"/admin/livegate_audit/ledgerentry/{query}", headers={"host": "127.0.0.1"})
        assert found.status_code == 200, found.status_code

    def first(answer: Any) -> None:
        list(islice(answer, PAGE))

    usual_card, usual_user = FIRST + CARDS // 4, FIRST + USERS // 4
    asked: dict[str, Callable[[], Any]] = {
        "who saw a card, all": lambda: list(ledger.who_saw(Card(pk=usual_card))),
        "who saw the card with most entries, first hundred": lambda: first(ledger.who_saw(Card(pk=FIRST))),
        "who saw it in a week, all": lambda: list(ledger.who_saw(Card(pk=FIRST), since=week)),
        "shown to a user, all": lambda: list(ledger.what_was_shown_to(users(pk=usual_user))),
        "shown to the user with most entries, first hundred": lambda: first(ledger.what_was_shown_to(users(pk=FIRST))),
        "shown to them in a week, all": lambda: list(ledger.what_was_shown_to(users(pk=FIRST), since=week)),
        "refusals, first hundred": lambda: first(ledger.refusals()),
        "admin": page,
        "admin, one kind": lambda: page("?kind__exact=refused"),
        "admin, one card": lambda: page(f"?object=board.Card:{FIRST}"),
        "admin, a user": lambda: page(f"?user={usual_user}"),
        "admin, the user with most entries": lambda: page(f"?user={FIRST}"),
        "admin, search": lambda: page(f"?q={usual_user}"),
    }
    return {case: timed(ask, times) for case, ask in asked.items()}


def timed(ask: Callable[[], Any], times: int) -> dict[str, float]:
    ask()  # what is made on the first time is made
    took = []
    for _ in range(times):
        started = time.perf_counter()
        ask()
        took.append(1e3 * (time.perf_counter() - started))
    return {"median_ms": median(took), "max_ms": max(took)}


if __name__ == "__main__":
    django.setup()
    print(json.dumps(answer(*map(int, sys.argv[1:]))))
