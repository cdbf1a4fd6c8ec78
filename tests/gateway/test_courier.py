"""The courier: from any thread, in one hop, without making anybody wait, and never failing the one who saves."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading

import pytest
from clients import PATIENCE, until
from servers import wait_until

from livegate.gateway import courier as courier_module
from livegate.gateway import streams
from livegate.gateway.courier import Courier
from livegate.gateway.notices import Notice, group_name, unpack


def notice(number):
    return Notice("update", "board.Card", str(number))


def task_of(courier):
    """What is sending."""
    return next((stream.task for stream in courier._streams.values()), None)


class Layer:
    """A channel layer that notes what it is sent; while the gate is shut it takes nothing."""

    def __init__(self):
        self.sent = []
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()
        self.errors = []

    async def group_send(self, group, message):
        self.asked.set()
        assert await asyncio.get_running_loop().getaddrinfo("localhost", 6379)
        await asyncio.to_thread(self.gate.wait, PATIENCE)
        if self.errors and (error := self.errors.pop()):
            raise error
        self.sent.append((group, unpack(message).notices))


@pytest.fixture
def layer(monkeypatch):
    layer = Layer()
    monkeypatch.setattr(streams, "get_channel_layer", lambda: layer)
    monkeypatch.setattr(courier_module, "FIRST_PAUSE", 0.001)
    return layer


@pytest.fixture
def courier():
    courier = Courier()
    yield courier
    courier.close()


def test_code_without_an_event_loop_has_its_notices_sent(courier, layer):
    courier.post([notice(1)])
    courier.close()

    assert layer.sent == [(group_name(0), [notice(1)])]


def test_what_is_posted_while_one_hop_is_under_way_makes_one_more_together_and_equal_notices_one(courier, layer):
    loop_is_busy = threading.Event()
    courier._loop_of_own().call_soon_threadsafe(loop_is_busy.wait, PATIENCE)

    for number in [1, 2, 3, 2, 1]:
        courier.post([notice(number)])
    loop_is_busy.set()
    courier.close()

    assert layer.sent == [(group_name(0), [notice(1), notice(2), notice(3)])]


def test_all_that_one_commit_tells_makes_one_hop(courier, layer, monkeypatch):
    monkeypatch.setattr(courier_module, "COLLECTING", 3)

    courier.post([notice(0)], more=True)  # as the callbacks of a commit do, one after the other
    wait_until(lambda: task_of(courier) or layer.asked.is_set(), "the loop to wake")
    for number in range(1, 50):
        courier.post([notice(number)], more=number < 49)
    courier.close()

    [(_, notices)] = layer.sent
    assert len(notices) == 50


def test_what_nothing_follows_is_sent_at_once_and_what_follows_soon_after_it_is_collected(courier, layer, monkeypatch):
    monkeypatch.setattr(courier_module, "COLLECTING", 10 * PATIENCE)
    courier.post([notice(1)])
    wait_until(lambda: layer.sent and not task_of(courier), "the notice to be sent")

    monkeypatch.setattr(courier_module, "COLLECTING", 3)
    courier.post([notice(2)])
    wait_until(lambda: task_of(courier), "the loop to wake")
    courier.post([notice(3)])
    courier.close()
    assert [[one.hashid for one in notices] for _, notices in layer.sent] == [["1"], ["2", "3"]]


def test_nobody_waits_for_a_channel_layer_that_does_not_answer(courier, layer):
    layer.gate.clear()

    courier.post([notice(1)])
    assert layer.asked.wait(PATIENCE)
    courier.post([notice(2)])  # returns, though the first is stuck
    assert layer.sent == []

    layer.gate.set()
    courier.close()
    assert sorted(notices[0].hashid for _, notices in layer.sent) == ["1", "2"]


def test_what_could_not_be_sent_is_sent_when_it_can_be_and_it_is_logged_once(courier, layer, caplog):
    caplog.set_level("INFO", "livegate")
    layer.errors = [ConnectionError("the secret")] * 3

    courier.post([notice(1), notice(2)])
    wait_until(lambda: layer.sent, "the notices to be sent")
    courier.close()

    assert layer.sent == [(group_name(0), [notice(1), notice(2)])]
    assert [record.event for record in caplog.records] == ["notices_unsent", "notices_sent"]
    assert caplog.records[0].count == 2
    assert "ConnectionError" in caplog.records[0].message
    assert "secret" not in caplog.text


def test_what_comes_meanwhile_is_sent_after_it_and_equal_notices_once(courier, layer):
    layer.gate.clear()
    layer.errors = [ConnectionError]
    courier.post([notice(1)])
    assert layer.asked.wait(PATIENCE)
    for number in (2, 1, 3):
        courier.post([notice(number)])
    layer.gate.set()
    wait_until(lambda: layer.sent, "the notices to be sent")
    courier.close()

    told = [told for _, notices in layer.sent for told in notices]
    assert told == [notice(1), notice(2), notice(3)]


def test_a_layer_that_takes_too_long_has_failed(courier, layer, settings, caplog):
    settings.LIVEGATE = {**settings.LIVEGATE, "SEND_TIMEOUT": 0.01}
    layer.gate.clear()
    courier.post([notice(1)])
    wait_until(lambda: caplog.records, "the layer to be given up")
    settings.LIVEGATE = {**settings.LIVEGATE, "SEND_TIMEOUT": PATIENCE}
    layer.gate.set()
    wait_until(lambda: layer.sent, "the notice to be sent")  # while it closes it would be tried once
    courier.close()

    assert "TimeoutError" in caplog.records[0].message
    assert (group_name(0), [notice(1)]) in layer.sent


@pytest.mark.parametrize("already", [True, False])
def test_what_can_not_be_sent_when_the_process_ends_is_lost_and_logged_and_keeps_nobody_waiting(
    courier, layer, caplog, monkeypatch, already
):
    monkeypatch.setattr(streams, "get_channel_layer", lambda: None)
    monkeypatch.setattr(courier_module, "FIRST_PAUSE", 1_000)
    monkeypatch.setattr(courier_module, "COLLECTING", 3)

    courier.post([notice(1), notice(2)], more=not already)
    if already:
        wait_until(lambda: caplog.records, "the layer to fail")
    courier.close()

    last = caplog.records[-1]
    assert (last.event, last.count) == ("notices_lost", 2)
    assert "LookupError" in last.message
    assert [record.event for record in caplog.records[:-1]] == ["notices_unsent"] * already


def test_several_may_close_it_at_once_and_what_is_posted_meanwhile_is_sent_too(courier, layer):
    errors = []

    def work(number):
        try:
            for step in range(20):
                courier.post([notice(100 * number + step)])
                courier.close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    wait_until(lambda: len({one for _, told in layer.sent for one in told}) == 80, "all notices")

    assert errors == []


def test_what_is_posted_just_before_its_thread_ends_is_sent_by_the_next(courier, layer, caplog):
    finish = courier._finish

    async def overtaken(loop):
        await finish(loop)
        del courier._finish
        courier.post([notice(2)])

    courier._finish = overtaken
    courier.post([notice(1)])
    courier.close()
    wait_until(lambda: len(layer.sent) == 2, "what was posted meanwhile")

    assert layer.sent[1] == (group_name(0), [notice(2)])
    gc.collect()
    assert caplog.records == []  # nor does asyncio say that something was left pending


def test_a_group_that_can_not_be_sent_to_delays_no_other(courier, layer, settings, monkeypatch):
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_GROUPS": 2}
    whole = [told for told in map(notice, range(20)) if told.group == group_name(0)]
    broken = [told for told in map(notice, range(20)) if told.group == group_name(1)]
    send, mended = layer.group_send, threading.Event()

    async def group_send(group, message):
        if group == group_name(1) and not mended.is_set():
            raise ConnectionError
        await send(group, message)

    layer.group_send = group_send
    courier.post([*broken, *whole])
    wait_until(lambda: layer.sent, "the other group")
    assert layer.sent == [(group_name(0), whole)]

    mended.set()
    wait_until(lambda: len(layer.sent) > 1, "this group")
    assert layer.sent[1] == (group_name(1), broken)


async def test_a_process_without_a_hub_says_once_more_how_much_it_has_sent(courier, layer, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "HEARTBEAT": 0.01}
    stamps, send = [], layer.group_send

    async def group_send(group, message):
        stamps.append(message["stamp"][1:])
        await send(group, message)

    layer.group_send = group_send
    await asyncio.to_thread(courier.post, [notice(1)])
    await until(lambda: len(layer.sent) == 2)

    assert layer.sent[1] == (group_name(0), [])
    assert stamps == [[1, 0], [1, 1]]


def test_what_could_not_be_said_once_more_is_said_by_the_next_notice(courier, layer, settings, caplog):
    settings.LIVEGATE = {**settings.LIVEGATE, "HEARTBEAT": 0.01}
    layer.errors = [ConnectionError, None]  # the notice itself is sent
    courier.post([notice(1)])
    wait_until(lambda: not layer.errors, "what is said once more")

    courier.post([notice(2)])
    courier.close()

    assert layer.sent[1] == (group_name(0), [notice(2)])
    assert caplog.records == []


def test_nothing_is_said_once_more_while_something_is_being_sent(courier, layer, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "HEARTBEAT": 0}
    layer.gate.clear()
    courier.post([notice(1)])
    assert layer.asked.wait(PATIENCE)
    [stream] = courier._streams.values()
    loop = courier._own_loop
    loop.call_soon_threadsafe(courier._confirm_later, stream)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), loop).result(PATIENCE)
    assert not courier._confirming

    layer.gate.set()
    courier.close()


def test_very_many_notices_are_sent_in_several_messages(courier, layer):
    courier.post([notice(number) for number in range(1_100)])
    courier.close()

    assert [len(notices) for _, notices in layer.sent] == [500, 500, 100]


def test_notices_go_to_the_group_of_their_instance(courier, layer, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_GROUPS": 3}
    courier.post([notice(number) for number in range(30)])
    courier.close()

    assert len(layer.sent) == 3
    assert all(told.group == group for group, notices in layer.sent for told in notices)


async def test_where_a_hub_runs_its_loop_sends(courier, layer):
    courier.use(asyncio.get_running_loop())

    await asyncio.to_thread(courier.post, [notice(1)])
    await until(lambda: layer.sent)

    assert courier._own_thread is None
    courier.release(asyncio.get_running_loop())


def test_what_a_stopping_hub_has_not_sent_is_sent_from_elsewhere(courier, layer):
    async def serve():
        loop = asyncio.get_running_loop()
        courier.use(loop)
        courier.post([notice(1)])
        courier.release(loop)  # before the loop had a chance to send, and it has none any more

    asyncio.run(serve())
    courier.close()

    assert layer.sent == [(group_name(0), [notice(1)])]


def test_what_a_loop_that_ends_was_sending_is_sent_from_elsewhere(courier, layer):
    layer.gate.clear()

    async def serve():
        courier.use(asyncio.get_running_loop())
        courier.post([notice(1)])
        await asyncio.to_thread(layer.asked.wait, PATIENCE)
        courier.release(asyncio.get_running_loop())
        layer.asked.clear()
        sending = task_of(courier)
        sending.cancel()
        await asyncio.wait([sending])
        layer.gate.set()

    asyncio.run(serve())
    courier.close()

    assert (group_name(0), [notice(1)]) in layer.sent


def test_a_thread_that_could_not_be_started_is_started_the_next_time(courier, layer, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            courier.post([notice(1)])

    courier.post([notice(2)])
    courier.close()

    assert layer.sent == [(group_name(0), [notice(1), notice(2)])]


def test_a_post_in_the_middle_of_a_post_locks_nobody_out(courier, layer):
    def notices():  # as a signal handler that saves, or a finalizer
        courier.post([notice(2)])
        yield notice(1)

    thread = threading.Thread(target=lambda: courier.post(notices()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    courier.close()

    assert sorted(told.hashid for _, together in layer.sent for told in together) == ["1", "2"]


def test_a_loop_that_was_closed_without_a_word_is_passed_over(courier, layer):
    closed = asyncio.new_event_loop()
    closed.close()
    courier.use(closed)

    courier.post([notice(1)])
    courier.close()

    assert layer.sent == [(group_name(0), [notice(1)])]
    courier.release(closed)


def test_what_a_loop_was_to_send_that_was_closed_before_is_sent_with_the_next(courier, layer):
    loop = asyncio.new_event_loop()
    courier.use(loop)
    courier.post([notice(1)])
    loop.close()

    courier.post([notice(2)])
    courier.close()

    assert layer.sent == [(group_name(0), [notice(1), notice(2)])]
    courier.release(loop)


SCRIPT = """
import asyncio, os, sys, django
django.setup()
from channels.layers import get_channel_layer
from livegate.gateway.courier import courier
from livegate.gateway.notices import Notice

class Layer:
    async def group_send(self, group, message):
        await asyncio.sleep(0.1)  # the process is ending meanwhile
        await asyncio.get_running_loop().getaddrinfo("localhost", 6379)  # as redis-py does for a host that is a name
        sys.stdout.write(str(message["notices"]) + "\\n")

import livegate.gateway.streams as module
module.get_channel_layer = Layer
courier.post([Notice("update", "board.Card", "parent")])
if sys.argv[1] == "fork":
    child = os.fork()
    if not child:
        courier.post([Notice("update", "board.Card", "child")])
        courier.close()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("how", ["straight", "fork"])
def test_a_process_that_ends_at_once_has_sent_its_notices_before(how):
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, how],  # Python 3.12 warns of every fork
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "lab.settings", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )

    told = run.stdout.split("\n")[:-1]
    assert told.count("[['update', 'board.Card', 'parent']]") == 1
    assert told.count("[['update', 'board.Card', 'child']]") == (how == "fork")
    assert run.stderr == ""
