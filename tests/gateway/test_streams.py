"""The stream: messages are numbered, and nothing of what failed is lost."""

from __future__ import annotations

import asyncio
import threading

import pytest

from livegate.gateway import streams
from livegate.gateway.notices import Notice, Stamp, group_name, unpack
from livegate.gateway.streams import ANYTHING, Stream

GROUP = group_name(0)


def notice(number):
    return Notice("update", "board.Card", str(number))


class Layer:
    def __init__(self):
        self.errors = []
        self.sent = []

    async def group_send(self, group, message):
        if self.errors:
            raise self.errors.pop()
        bulletin = unpack(message)
        if bulletin.stamp.stream != "a process":  # this one says once more what tests before have sent
            return
        self.sent.append((bulletin.stamp.number, bulletin.stamp.after, bulletin.notices))


@pytest.fixture
def layer(monkeypatch):
    layer = Layer()
    monkeypatch.setattr(streams, "get_channel_layer", lambda: layer)
    return layer


@pytest.fixture
def stream():
    return Stream("a process", GROUP, threading.RLock())


async def test_messages_are_numbered_and_each_says_what_has_to_have_been_heard_before(stream, layer):
    for number in range(3):
        stream.add(notice(number))
        await stream.send_next()

    assert layer.sent == [(1, 0, [notice(0)]), (2, 1, [notice(1)]), (3, 2, [notice(2)])]
    assert stream.stamp == Stamp("a process", 3, 3)


@pytest.mark.parametrize("error", [ConnectionError, asyncio.CancelledError])
async def test_what_failed_is_sent_first_under_a_number_of_its_own_and_needs_not_have_been_heard(stream, layer, error):
    stream.add(notice(1))
    await stream.send_next()
    stream.add(notice(2))
    layer.errors = [error]
    with pytest.raises(error):
        await stream.send_next()
    assert stream.stamp == Stamp("a process", 1, 1)

    stream.add(notice(3))
    stream.add(notice(2))
    await stream.send_next()

    assert layer.sent == [(1, 0, [notice(1)]), (3, 1, [notice(2), notice(3)])]
    assert stream.stamp == Stamp("a process", 3, 3)


async def test_very_many_are_sent_in_several_messages_and_only_what_failed_again(stream, layer, monkeypatch):
    monkeypatch.setattr(streams, "MESSAGE_SIZE", 2)
    for number in range(5):
        stream.add(notice(number))

    await stream.send_next()
    layer.errors = [ConnectionError]
    with pytest.raises(ConnectionError):
        await stream.send_next()
    await stream.send_next()
    await stream.send_next()

    assert layer.sent == [(1, 0, [notice(0), notice(1)]), (3, 1, [notice(2), notice(3)]), (4, 3, [notice(4)])]
    assert stream.waiting == {}


async def test_while_nothing_can_be_sent_not_more_than_so_much_is_kept_and_one_notice_stands_for_it(
    stream, layer, monkeypatch
):
    monkeypatch.setattr(streams, "MOST_WAITING", 3)
    for number in range(5):
        stream.add(notice(number))
    assert len(stream.waiting) == 5  # as long as it can be

    stream.is_stuck = True
    stream.add(notice(6))
    stream.add(notice(7))
    await stream.send_next()

    assert layer.sent == [(1, 0, [ANYTHING])]
