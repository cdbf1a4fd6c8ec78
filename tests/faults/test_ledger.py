"""The ledger's database is killed, or hangs, under gateways that have clients, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from itertools import count

import pytest

from .crowd import PEOPLE, PROMPT, RECOVERY, until
from .ledger import SMALL, Ledger

FAULTS = {"killed": (Ledger.kill, Ledger.start), "hangs": (Ledger.hang, Ledger.go_on)}
# How often all is named anew in each part of an outage; each time everybody is told before the next.
ROUNDS = 3
# The labels of what is on record before it is shown, and when it is.
STRICT, SHOWINGS = "board.Card", "board.Board"

numbers = count(1)


@pytest.fixture(scope="module")
def recording(site):
    with contextlib.ExitStack() as stack:
        yield Ledger(stack, site)


@pytest.fixture
async def ledger(site, recording):
    await recording.auditor.do("begin")
    before = len(recording.outputs())
    yield recording
    recording.repair(site)
    print(recording.outputs()[before:])  # shown where the test has failed


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_its_ledger_nothing_strict_is_shown_and_all_else_goes_on(site, crowd, ledger, fault):
    begins, ends = FAULTS[fault]
    address = ledger.gateway.address
    for name in PEOPLE:
        crowd.connect(name, address)
    crowd.connect("ben", address, crowd.board)
    crowd.connect("cleo", address, crowd.organization)
    both = crowd.connect("amira", address, *crowd.cards, crowd.board, crowd.organization)
    of_small = crowd.connect("amira", ledger.small.address, crowd.patched, crowd.board)
    of_gateway = [client for client in crowd.clients if client is not of_small]
    await crowd.be_answered()
    states = [site.state(gateway) for gateway in ledger.gateways]
    logged = [len(gateway.output()) for gateway in ledger.gateways]

    async with crowd.writing(site.workers) as written:
        await all_are_told_new_names(crowd)
        await asyncio.to_thread(begins, ledger)
        await all_are_told_new_names(crowd)
        await until(lambda: both.is_delayed and of_small.is_delayed, RECOVERY, lambda: "They are not told.")
        await all_are_told_new_names(crowd)
        shown_before = frames_of(crowd.clients, STRICT)

        await all_are_told_new_names(crowd)
        during = [site.state(gateway) for gateway in ledger.gateways]
        ledger.wire.hold()
        await asyncio.to_thread(ends, ledger)  # it is there again, and nobody can write
        on_record = await records(crowd, ledger)
        await all_are_told_new_names(crowd)
        shown_without = frames_of(crowd.clients, STRICT)
    were_delayed = both.is_delayed and of_small.is_delayed
    ledger.wire.let_go()  # nothing changes any more: what was not shown is shown by itself
    await until(lambda: not is_anybody_delayed(crowd), RECOVERY, lambda: "Not all are current.")

    assert written.errors == written.database_errors == []
    assert written.commits
    assert were_delayed
    assert shown_without == shown_before
    assert shown_without - Counter(name for _, name in on_record) == Counter()
    assert during[0]["ledger_queue"] > SMALL
    assert 0 < during[1]["ledger_queue"] <= SMALL + 1  # with the one that says that there was no room for others
    await crowd.settle(within=RECOVERY)
    assert crowd.thrown_out == []

    await until(lambda: is_all_written(site, ledger), RECOVERY, lambda: "Something waits to be written.")
    on_record = await records(crowd, ledger)
    afterwards = [site.state(gateway) for gateway in ledger.gateways]
    by_gateway, by_small = (
        Counter(showing for process, showing in on_record if process in state["processes"]) for state in afterwards
    )
    assert by_gateway == frames_of(of_gateway, STRICT, SHOWINGS)
    missing = frames_of([of_small], STRICT, SHOWINGS) - by_small
    assert by_small - frames_of([of_small], STRICT, SHOWINGS) == Counter()
    assert {label for _, label, *_ in missing} == {SHOWINGS}
    lost = [
        after["ledger_entries_lost"] - before["ledger_entries_lost"]
        for before, after in zip(states, afterwards, strict=True)
    ]
    assert lost == [0, missing.total()]
    assert await ledger.auditor.do("lost") == missing.total()
    assert sum(after["ledger_entries_written"] for after in afterwards) == await ledger.auditor.do("entries")
    for gateway, begun in zip(ledger.gateways, logged, strict=True):
        words = Counter(re.findall(r"ledger_\w+", gateway.output()[begun:]))
        assert words == {"ledger_failed": 1, "ledger_written": 1}


async def test_who_watches_nothing_strict_does_not_wait_for_a_ledger_that_hangs(site, crowd, ledger):
    strict = crowd.connect("amira", ledger.gateway.address)
    crowd.connect("ben", ledger.gateway.address, crowd.board)
    crowd.connect("cleo", ledger.gateway.address, crowd.organization)
    await crowd.be_answered()
    before = frames_of([strict], STRICT)
    site.state(ledger.gateway, wait=1_000)
    ledger.hang()

    await site.writer.do("rewrite")
    await all_are_told_new_names(crowd)

    assert frames_of([strict], STRICT) == before
    assert not strict.was_delayed  # it still waits
    ledger.go_on()
    await crowd.settle(within=RECOVERY)
    assert crowd.thrown_out == []


async def all_are_told_new_names(crowd):
    """Again and again; those who watch what has them, each time before the next."""
    for _ in range(ROUNDS):
        name = f"Name {next(numbers)}"
        await crowd.site.writer.do("name_all", name=name)
        views = [(one, key) for one in crowd.clients for key in (crowd.board, crowd.organization) if key in one.views]
        await until(
            lambda name=name, views=views: all(one.views[key]["name"] == name for one, key in views),
            PROMPT,
            lambda name=name: f"Somebody was not told of {name}.",
        )


def is_anybody_delayed(crowd):
    return any(client.is_delayed for client in crowd.clients)


def is_all_written(site, ledger):
    return all(site.state(gateway)["ledger_queue"] == 0 for gateway in ledger.gateways)


# What was shown, by name, label, hashid, ETag and names of fields


def frames_of(clients, *labels):
    """As they have it, of the models with these labels."""
    return Counter(
        (
            client.name,
            frame["meta"]["model"],
            frame["meta"]["id"],
            frame["meta"]["etag"],
            *sorted(names_in(frame["payload"])),
        )
        for client in clients
        for frame in client.updates
        if frame["meta"]["model"] in labels
    )


def names_in(payload):
    for name, value in payload.items():
        yield name
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in names_in(value))


async def records(crowd, ledger):
    """As the ledger has it, each with the process in which it was."""
    keys = [*crowd.cards, crowd.board, crowd.organization]
    rows = await ledger.auditor.do("shown", keys=keys)
    return [(process, (name, label, hashid, etag, *fields)) for name, process, label, hashid, etag, fields in rows]
