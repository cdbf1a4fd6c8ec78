"""Metrics: what happened is counted and measured, from any thread, and what never happened is 0."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import get_args

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from clients import hashid_of, message_of, until
from guardian.models import UserObjectPermission
from guardian.shortcuts import remove_perm

from livegate.gateway import canary, hub, metrics
from livegate.gateway.courier import courier
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.listener import get_channel_layer
from livegate.gateway.metrics import BOUNDS, Count, Gauge, Measure, count, counts, distributions, gauge, gauges, observe
from livegate.gateway.notices import Notice, group_name
from livegate.gateway.publications import find


@pytest.fixture(autouse=True)
def from_nothing(monkeypatch):
    for name in ("_counts", "_buckets", "_sums", "_gauges"):
        held = getattr(metrics, name)
        monkeypatch.setattr(metrics, name, held.copy() if name == "_gauges" else type(held)())


def test_what_never_happened_is_0():
    assert counts() == dict.fromkeys(get_args(Count), 0)


def test_what_happens_is_counted():
    count("evaluations")
    count("views_shared", 300)
    count("views_shared", 2)

    assert counts() == {**dict.fromkeys(get_args(Count), 0), "evaluations": 1, "views_shared": 302}


def test_what_was_given_out_does_not_change():
    before = counts(), distributions()

    count("canaries")
    observe("evaluation_audiences", 3)

    assert before[0]["canaries"] == 0
    assert set(before[1]["evaluation_audiences"].up_to.values()) == {0}


def test_nothing_is_lost_between_threads():
    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(lambda: [count("views_alone") for _ in range(2_000)])
            threads.submit(lambda: [observe("evaluation_audiences", 1) for _ in range(2_000)])

    assert counts()["views_alone"] == 8_000
    assert distributions()["evaluation_audiences"].up_to[inf] == 8_000
    assert distributions()["evaluation_audiences"].sum == 8_000


def test_a_count_in_the_middle_of_a_count_locks_nobody_out():
    """As a signal handler that saves, or a finalizer, does it."""

    def counts_within():
        with metrics._lock:
            count("notices_posted")

    thread = threading.Thread(target=counts_within, daemon=True)
    thread.start()
    thread.join(30)

    assert not thread.is_alive()


def test_what_is_measured_is_distributed_over_the_bounds_and_on_a_bound_is_within_it():
    for value in (0, 1, 2, 2, 700, 5_000):
        observe("evaluation_audiences", value)

    assert distributions()["evaluation_audiences"].sum == 5_705
    up_to = distributions()["evaluation_audiences"].up_to
    assert list(up_to) == [0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, inf]
    assert list(up_to.values()) == [1, 2, 4, 4, 4, 4, 4, 4, 4, 4, 5, 6]


def test_what_was_never_measured_is_0_everywhere():
    assert distributions().keys() == BOUNDS.keys() == set(get_args(Measure))
    for name, one in distributions().items():
        assert one.up_to == dict.fromkeys((*BOUNDS[name], inf), 0)
        assert one.sum == 0
        assert list(BOUNDS[name]) == sorted(set(BOUNDS[name]))


def test_a_gauge_is_asked_when_somebody_wants_to_know():
    waiting = [1, 2]
    gauge("ledger_queue", lambda: len(waiting))

    before = gauges()["ledger_queue"]
    waiting.append(3)

    assert (before, gauges()["ledger_queue"]) == (2, 3)


def test_what_says_nothing_and_what_nobody_tells_is_left_out():
    gauge("ledger_queue", lambda: None)

    assert "ledger_queue" not in gauges()
    assert metrics._gauges.keys() == set(get_args(Gauge))


def test_without_a_hub_there_is_no_socket_and_nothing_to_sweep():
    assert gauges() == {"sockets": 0, "subscriptions": 0}


def test_a_forked_child_begins_at_0_also_where_another_thread_is_counting():
    count("sweeps")
    observe("evaluation_seconds", 1)
    answer, question = os.pipe()

    with metrics._lock:  # its thread is missing in the child, were it another
        child = forked(question)
    os.close(question)
    with os.fdopen(answer) as told:
        assert told.read() == "0 0 1"
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert counts()["sweeps"] == 1


def test_what_is_forgotten_is_0_again(monkeypatch):
    held = metrics._lock
    monkeypatch.setattr(metrics, "_lock", held)
    count("sweeps")
    observe("revocation_seconds", 1)

    metrics.start_over()

    assert set(counts().values()) == {0}
    assert {one.up_to[inf] for one in distributions().values()} == {0}
    assert metrics._lock is not held


def forked(question):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            answered = []
            counting = threading.Thread(target=lambda: answered.append(count("canaries")), daemon=True)
            counting.start()
            counting.join(10)
            seen = counts()["sweeps"], distributions()["evaluation_seconds"].up_to[inf], counts()["canaries"]
            os.write(question, " ".join(map(str, seen)).encode())
            code = 0
        finally:
            os._exit(code)
    return child


# What is counted where


def hide():
    """Nobody sees it without a right to."""
    Card.objects.update(public=False)


async def shown(client, card):
    return await client.ask({"action": "subscribe", "model": "board.Card", "id": card.hashid, "etag": None})


async def test_sockets_and_subscriptions_are_those_of_this_moment(demo, connect):
    one, other = await connect(demo.amira), await connect(demo.ben)
    await one.subscribe(demo.card)
    await other.subscribe(demo.card)

    assert gauges()["sockets"] == gauges()["subscriptions"] == 2
    assert await sync_to_async(gauges, thread_sensitive=False)() == gauges() | {
        "sweep_age_seconds": pytest.approx(gauges()["sweep_age_seconds"], abs=60)
    }
    await other.close()

    assert gauges()["sockets"] == gauges()["subscriptions"] == 1
    assert counts()["sockets_opened"] == 2


async def test_the_age_of_the_sweep_is_that_of_the_hub_that_was_swept_longest_ago(demo, connect, monkeypatch):
    await connect(demo.amira)
    [mine] = hub._hubs.values()
    monkeypatch.setattr(hub, "monotonic", lambda: mine.swept + 40)

    assert gauges()["sweep_age_seconds"] == 40

    mine.swept += 15
    monkeypatch.setattr(hub, "monotonic", lambda: mine.swept + 40 - 15)
    assert gauges()["sweep_age_seconds"] == 25


async def test_a_whole_sweep_makes_it_young_again(demo, connect, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "SWEEP_PERIOD": 0.01, "SWEEP_RATE": 1_000_000}
    await connect(demo.amira)
    [mine] = hub._hubs.values()
    mine.swept -= 3_600

    await until(lambda: gauges()["sweep_age_seconds"] < 3_600)

    assert counts()["sweeps"]


async def test_frames_are_counted_and_views_that_did_not_change_are_not_sent(demo, connect):
    owner, colleague = await connect(demo.amira), await connect(demo.cleo)
    await shown(owner, demo.card)
    await shown(colleague, demo.card)
    await until(lambda: counts()["frames_sent"] == 2)

    demo.card.salary += 1  # which a colleague may not see
    await sync_to_async(demo.card.save)()
    await owner.receive()
    await until(lambda: counts()["frames_suppressed"])

    await owner.ask({"action": "ping"})
    await until(lambda: counts()["frames_sent"] == 4)


async def test_notices_are_counted_where_they_are_posted_and_where_they_are_heard(demo, connect):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    posted, heard = counts()["notices_posted"], counts()["notices_heard"]

    courier.post([Notice("update", "board.Card", "none"), Notice("update", "board.Card", "none either")])
    await until(lambda: counts()["notices_heard"] == heard + 2)
    layer = get_channel_layer()
    await layer.group_send(group_name(0), message_of(Notice("update", "board.Card", "of another process")))
    await until(lambda: counts()["notices_heard"] == heard + 3)

    assert counts()["notices_posted"] == posted + 2


def test_an_evaluation_is_measured_once_with_what_was_made_for_each_audience(demo, viewer):
    card = find("board.Card")
    hide()
    people = [viewer(one) for one in (demo.amira, demo.ben, demo.cleo, demo.dev)]

    evaluate([Pair(one, card, demo.card.hashid) for one in [*people, people[2]]])

    measured = distributions()
    assert measured["evaluation_seconds"].up_to[inf] == measured["evaluation_audiences"].up_to[inf] == 1
    # The owner sees her own address, the second the salary, the third neither, and the fourth nothing.
    assert measured["evaluation_audiences"].sum == 3
    assert measured["evaluation_seconds"].sum > 0
    assert counts()["pairs_evaluated"] == 5


def test_an_evaluation_that_has_to_be_divided_is_one_that_is_measured(demo, viewer, monkeypatch):
    card, user = find("board.Card"), find("auth.User")
    monkeypatch.setattr(canary, "_distrusted", [card.serializer])
    person = viewer(demo.ben)

    evaluate([Pair(person, card, demo.card.hashid), Pair(person, user, hashid_of(demo.ben))])

    assert counts()["evaluations"] == 3
    assert {one.up_to[inf] for name, one in distributions().items() if name != "revocation_seconds"} == {1}


async def test_refusals_are_counted_and_messages_that_are_none(demo, connect):
    await sync_to_async(hide)()
    client = await connect(demo.dev)

    for number in range(2):
        refused = await client.subscribe(demo.card, request_id=number)
        assert refused["payload"]["code"] == "not_found"
    await client.ask({"model": "board.Unknown", "id": "x"})
    await client.send_raw(text="no JSON")
    await client.receive()

    assert counts()["refusals"] == 2
    assert counts()["messages_refused"] == 2
    assert counts()["views_taken"] == 0


async def test_a_right_that_is_taken_is_measured_from_when_it_was_heard(demo, connect):
    await sync_to_async(hide)()
    client = await connect(demo.cleo)
    await shown(client, demo.card)

    await sync_to_async(remove_perm)("board.view_card", demo.cleo, demo.card)
    assert (await client.receive())["type"] == "DELETE_CARD"

    measured = distributions()["revocation_seconds"]
    assert counts()["views_taken"] == measured.up_to[inf] == 1
    assert measured.sum > 0


async def test_what_is_deleted_or_found_by_a_sweep_is_taken_but_was_never_heard_to_be(demo, connect, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "SWEEP_PERIOD": 0.01, "SWEEP_RATE": 1_000_000}
    await sync_to_async(hide)()
    client, owner = await connect(demo.cleo), await connect(demo.amira)
    await shown(client, demo.card)
    await shown(owner, demo.card)

    rows = UserObjectPermission.objects.filter(permission__codename="view_card")
    await sync_to_async(rows._raw_delete)(rows.db)
    assert (await client.receive())["type"] == "DELETE_CARD"
    await sync_to_async(Card.objects.all().delete)()
    assert (await owner.receive())["type"] == "DELETE_CARD"

    assert counts()["views_taken"] == 2
    assert distributions()["revocation_seconds"].up_to[inf] == 0


async def test_a_socket_that_can_not_be_sent_its_views_has_failed(demo, connect):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    [socket] = hub._hubs[next(iter(hub._hubs))].sockets

    async def fail(frame):
        raise ValueError

    socket.send = fail
    demo.card.title = "changed"
    await sync_to_async(demo.card.save)()
    assert (await client.take()) == {"type": "websocket.close", "code": 1011}

    assert counts()["sockets_failed"] == 1
