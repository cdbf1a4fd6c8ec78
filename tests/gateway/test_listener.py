"""The listener: it knows whether it hears, and whether it has heard everything."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from channels.layers import InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from clients import PATIENCE, until

from livegate.gateway import listener as listener_module
from livegate.gateway.courier import Courier, courier
from livegate.gateway.listener import Listener
from livegate.gateway.notices import Bulletin, Notice, Stamp, group_name, pack

GROUP = group_name(0)
NOTICE = Notice("update", "board.Card", "7sd8f")


class DeafLayer(InMemoryChannelLayer):
    """Takes everything; what is sent to a group in ``silent`` reaches nobody, and nobody is told."""

    def __init__(self):
        super().__init__()
        self.silent = set()
        self.stuck = asyncio.Event()  # nothing more is answered
        self.sent = []

    async def group_send(self, group, message):
        if self.stuck.is_set():
            await asyncio.Event().wait()
        self.sent.append((group, message))
        if group not in self.silent:
            await super().group_send(group, message)

    async def group_discard(self, group, channel):
        if self.stuck.is_set():
            await asyncio.Event().wait()
        await super().group_discard(group, channel)


class Ear:
    """A listener, and what it says: the notices, "miss" and "lose"."""

    def __init__(self, layer):
        self.layer = layer
        self.said = []
        self.listener = Listener(self.said.append, lambda: self.said.append("miss"), lambda: self.said.append("lose"))

    async def hears(self):
        await until(self.listener.hears.is_set)
        assert self.said.pop() == "miss"

    async def tell(self, stream, number, after, *notices):
        """Another process sends a message."""
        await self.layer.group_send(GROUP, pack(Bulletin(list(notices), Stamp(stream, number, after))))

    async def all_is_heard(self):
        """Whatever was told before."""
        last = Notice("delete", "board.Card", "the last")
        await self.tell("last", 1, 0, last)
        await until(lambda: last in self.said)
        self.said.remove(last)


@pytest.fixture
def brisk(settings):
    """It calls often, and waits for nothing for long. Else it calls but once, and is disturbed by no other work."""
    settings.LIVEGATE = {**settings.LIVEGATE, "HEARTBEAT": 0.05, "SEND_TIMEOUT": 0.5}


@pytest.fixture
async def ear(request, monkeypatch, settings):
    if "brisk" not in request.fixturenames:
        settings.LIVEGATE = {**settings.LIVEGATE, "HEARTBEAT": 1_000, "SEND_TIMEOUT": PATIENCE}
    # What it would say once more of an earlier test would be heard here, as of somebody who was not heard before.
    await asyncio.to_thread(courier.close)
    layer = DeafLayer()
    for module in ("listener", "streams"):
        monkeypatch.setattr(f"livegate.gateway.{module}.get_channel_layer", lambda: layer)
    monkeypatch.setattr(listener_module, "courier", Courier())
    monkeypatch.setattr(listener_module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(listener_module, "LONGEST_PAUSE", 0.002)
    ear = Ear(layer)
    listening = asyncio.create_task(ear.listener.keep_listening())
    yield ear
    listening.cancel()
    await asyncio.wait([listening])


async def test_what_comes_one_after_the_other_is_heard_and_nothing_is_missed(ear):
    await ear.hears()

    await ear.tell("a", 1, 0, NOTICE)
    await ear.tell("a", 2, 1, NOTICE)
    await ear.tell("b", 1, 0, NOTICE)
    await ear.all_is_heard()

    assert ear.said == [NOTICE] * 3


async def test_a_number_that_is_missing_was_missed(ear):
    await ear.hears()

    await ear.tell("a", 1, 0, NOTICE)
    await ear.tell("a", 3, 2)
    await ear.all_is_heard()

    assert ear.said == [NOTICE, "miss"]


async def test_what_failed_and_came_again_was_not_missed_whether_it_had_arrived_or_not(ear):
    await ear.hears()

    await ear.tell("a", 1, 0)
    await ear.tell("a", 3, 1, NOTICE)  # the second was not heard, and what it carried is in the third
    await ear.tell("b", 1, 0)
    await ear.tell("b", 2, 0)  # the first was taken for lost, and had arrived
    await ear.tell("b", 3, 2)
    await ear.all_is_heard()

    assert ear.said == [NOTICE]


async def test_what_is_said_of_earlier_does_not_make_what_was_heard_later_unheard(ear):
    await ear.hears()

    for number in (1, 2, 3):
        await ear.tell("a", number, number - 1)
    await ear.tell("a", 2, 2)  # a call that was made before the third message, and came after it
    await ear.tell("a", 4, 3)
    await ear.all_is_heard()

    assert ear.said == []


async def test_a_group_that_can_not_be_joined_in_time_has_failed(brisk, ear, caplog):
    await ear.hears()
    joins, whole = [], ear.layer.group_add

    async def group_add(group, channel):
        joins.append(group)
        if len(joins) == 1:
            await asyncio.Event().wait()
        await whole(group, channel)

    ear.layer.group_add = group_add
    ear.layer.silent.add(GROUP)
    await until(lambda: ear.said)
    ear.layer.silent.clear()
    await until(ear.listener.hears.is_set)

    assert len(joins) == 2
    assert "TimeoutError" in caplog.text


async def test_the_last_that_was_missed_is_known_when_it_is_said_how_many_there_were(ear):
    await ear.hears()

    await ear.tell("a", 1, 0)
    ear.layer.silent.add(GROUP)
    await ear.tell("a", 2, 1, NOTICE)
    ear.layer.silent.clear()
    await ear.tell("a", 2, 2)
    await ear.tell("a", 2, 2)
    await ear.all_is_heard()

    assert ear.said == ["miss"]


async def test_of_somebody_who_was_not_heard_before_it_is_not_known_whether_something_was_missed(ear):
    await ear.hears()

    await ear.tell("a", 8, 7)
    await ear.all_is_heard()

    assert ear.said == ["miss"]


async def test_of_streams_that_were_silent_for_long_nothing_is_kept(ear, monkeypatch):
    await ear.hears()
    monkeypatch.setattr(listener_module, "MOST_STREAMS", 3)

    for name in "abcd":
        await ear.tell(name, 1, 0)
        await ear.tell("kept", 1, 1 if name != "a" else 0)
    await ear.all_is_heard()

    assert len(ear.listener._heard) == 3
    assert "kept" in ear.listener._heard
    assert ear.said == []


async def test_a_layer_that_takes_everything_and_gives_nothing_back_is_noticed_and_joined_anew(brisk, ear, caplog):
    await ear.hears()
    channel = next(iter(ear.layer.groups[GROUP]))

    ear.layer.silent.add(GROUP)
    await until(lambda: ear.said)
    assert ear.said == ["lose"]
    assert not ear.listener.hears.is_set()
    ear.layer.silent.clear()
    await until(ear.listener.hears.is_set)

    assert "Silence" in caplog.records[0].message
    assert ear.said[-1] == "miss"
    assert channel not in ear.layer.groups[GROUP]


async def test_a_receive_that_somebody_else_cancels_is_noticed_and_begun_again(ear):
    await ear.hears()
    receive, cancelled = ear.layer.receive, []

    async def receive_once(channel):
        message = await receive(channel)
        if not cancelled:
            cancelled.append(message)
            raise asyncio.CancelledError
        return message

    ear.layer.receive = receive_once
    for _ in range(2):  # the first may be received by what was begun before
        await ear.tell("a", 1, 0)
    await until(lambda: "lose" in ear.said)
    await until(ear.listener.hears.is_set)

    assert ear.said[-1] == "miss"


async def test_silence_in_one_group_of_several_is_noticed(brisk, ear, settings):
    await ear.hears()
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_GROUPS": 3}
    ear.layer.silent.add(GROUP)
    await until(lambda: ear.said)
    ear.layer.silent.clear()
    await until(ear.listener.hears.is_set)
    ear.said.clear()

    ear.layer.silent.add(group_name(2))
    await until(lambda: ear.said)

    assert ear.said == ["lose"]


async def test_a_layer_that_answers_nothing_any_more_keeps_nobody_from_being_told(brisk, ear):
    await ear.hears()

    ear.layer.stuck.set()
    await until(lambda: ear.said)
    assert ear.said[0] == "lose"
    ear.layer.stuck.clear()
    await until(ear.listener.hears.is_set)

    assert ear.said[-1] == "miss"


async def test_as_long_as_not_all_groups_were_heard_it_does_not_hear(brisk, ear, settings):
    await ear.hears()
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_GROUPS": 2}
    ear.layer.silent |= {GROUP, group_name(1)}
    await until(lambda: ear.said)
    ear.layer.silent.remove(GROUP)
    sent = len(ear.layer.sent)
    await until(lambda: len(ear.layer.sent) > sent + 10)

    assert not ear.listener.hears.is_set()


async def test_what_is_none_of_livegates_is_logged_and_the_next_is_heard(ear, caplog):
    await ear.hears()

    await ear.layer.group_send(GROUP, {"type": "livegate.notices", "notices": [["salary", 84000]]})
    await ear.tell("a", 1, 0, NOTICE)
    await ear.all_is_heard()

    assert ear.said == [NOTICE]
    assert [record.event for record in caplog.records] == ["notice_malformed"]


class Connection:
    def __init__(self):
        self.closed = []

    async def disconnect(self, nowait):
        self.closed.append(nowait)


async def test_the_connections_on_which_redis_is_heard_are_replaced_and_no_others():
    layer, own = RedisPubSubChannelLayer(hosts=["redis://one", "redis://two", "redis://three"]), Connection()
    first, second, third = layer._get_layer()._shards
    first._pubsub = SimpleNamespace(connection=own)
    second._pubsub = SimpleNamespace(connection=None)

    await listener_module.hang_up(layer)
    await listener_module.hang_up(InMemoryChannelLayer())

    assert own.closed == [True]
    assert third._pubsub is None


async def test_a_task_that_does_not_end_when_it_is_cancelled_is_not_waited_for_for_ever(settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "SEND_TIMEOUT": 0.01}
    over = asyncio.Event()

    async def stubborn():
        try:
            await asyncio.Event().wait()
        finally:
            await over.wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)

    await listener_module.end({task})

    assert not task.done()
    over.set()
    await asyncio.wait([task])
