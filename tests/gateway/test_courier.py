"""The courier: from any thread, in one hop, without making anybody wait, and never failing the one who saves."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest
from clients import PATIENCE, until
from servers import wait_until

from livegate.gateway import courier as courier_module
from livegate.gateway.courier import Courier
from livegate.gateway.notices import Notice, group_name, unpack


def notice(number):
    return Notice("update", "board.Card", str(number))


class Layer:
    """A channel layer that notes what it is sent; while the gate is shut it takes nothing."""

    def __init__(self):
        self.sent = []
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()

    async def group_send(self, group, message):
        self.asked.set()
        assert await asyncio.get_running_loop().getaddrinfo("localhost", 6379)
        await asyncio.to_thread(self.gate.wait, PATIENCE)
        self.sent.append((group, unpack(message)))


@pytest.fixture
def layer(monkeypatch):
    layer = Layer()
    monkeypatch.setattr(courier_module, "get_channel_layer", lambda: layer)
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
    courier.post([])
    courier._own_loop.call_soon_threadsafe(loop_is_busy.wait, PATIENCE)

    for number in [1, 2, 3, 2, 1]:
        courier.post([notice(number)])
    loop_is_busy.set()
    courier.close()

    assert layer.sent == [(group_name(0), [notice(1), notice(2), notice(3)])]


def test_all_that_one_commit_tells_makes_one_hop(courier, layer, monkeypatch):
    monkeypatch.setattr(courier_module, "COLLECTING", 0.5)

    courier.post([notice(0)])  # as the callbacks of a commit do, one after the other
    wait_until(lambda: courier._collecting or layer.asked.is_set(), "the loop to wake")
    for number in range(1, 50):
        courier.post([notice(number)])
    courier.close()

    [(_, notices)] = layer.sent
    assert len(notices) == 50


def test_nobody_waits_for_a_channel_layer_that_does_not_answer(courier, layer):
    layer.gate.clear()

    courier.post([notice(1)])
    assert layer.asked.wait(PATIENCE)
    courier.post([notice(2)])  # returns, though the first is stuck
    assert layer.sent == []

    layer.gate.set()
    courier.close()
    assert sorted(notices[0].hashid for _, notices in layer.sent) == ["1", "2"]


def test_a_layer_that_takes_too_long_or_fails_is_logged_by_number_and_not_by_content(
    courier, layer, settings, caplog, monkeypatch
):
    settings.LIVEGATE = {**settings.LIVEGATE, "SEND_TIMEOUT": 0.01}
    layer.gate.clear()
    courier.post([notice(1), notice(2)])
    courier.close()
    layer.gate.set()

    [record] = caplog.records
    assert (record.event, record.count) == ("notices_unsent", 2)
    assert "TimeoutError" in record.message

    monkeypatch.setattr(courier_module, "get_channel_layer", lambda: None)
    courier.post([notice(3)])
    courier.close()
    assert "LookupError" in caplog.records[-1].message


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
        [sending] = courier._tasks
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

import livegate.gateway.courier as module
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
