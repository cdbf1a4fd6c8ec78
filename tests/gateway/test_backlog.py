"""The backlog: what is dirty, and who is next."""

from __future__ import annotations

import random

import pytest
from readers import Reader

from livegate.gateway.backlog import Backlog
from livegate.gateway.decisions import Pair
from livegate.gateway.entries import CHANGE, REQUEST, SWEEP
from livegate.gateway.messages import parse
from livegate.gateway.publications import find
from livegate.gateway.subscriptions import Subscription


@pytest.fixture
async def sockets():
    return set()


@pytest.fixture
def watching(sockets, viewer):
    """A socket that watches so many objects; and the subscriptions."""

    def watch(count):
        socket = Reader(viewer()).socket
        sockets.add(socket)
        watched = [Subscription(socket, Pair(socket.viewer, find("board.Card"), str(each))) for each in range(count)]
        socket.subscriptions = {one.key: one for one in watched}
        return socket, watched

    return watch


def taken(batch):
    return {socket: [subscription.pair.hashid for subscription in items] for socket, items in batch.items()}


async def test_a_batch_is_what_there_is_room_for_in_turn(sockets, watching):
    backlog = Backlog(sockets)
    (first, some), (second, others) = watching(2), watching(2)
    for subscription in some + others:
        backlog.mark([subscription], CHANGE)

    assert taken(backlog.take(3, with_requests=True)) == {first: ["0", "1"], second: ["0"]}
    assert (first.busy, second.busy, bool(backlog)) == (True, True, False)
    assert backlog.take(3, with_requests=True) == {}

    backlog.put_back(first, [])
    backlog.put_back(second, [])
    assert taken(backlog.take(3, with_requests=True)) == {second: ["1"]}


async def test_all_that_is_watched_of_what_changed_is_one_batch(sockets, watching):
    backlog = Backlog(sockets)
    (first, some), (second, others) = watching(3), watching(2)
    changed = [dict.fromkeys([some[0], others[0]]), dict.fromkeys([some[1], others[1]])]

    for subscriptions in (*changed, changed[0]):
        backlog.mark_all(subscriptions, CHANGE)
    backlog.mark_all(changed[1], SWEEP)
    assert [backlog.awaits(socket) for socket in (first, second, watching(1)[0])] == [True, True, False]
    del changed[0][others[0]]  # given up
    assert taken(backlog.take(10, with_requests=True)) == {first: ["0", "1"], second: ["1"]}

    assert (first.busy, second.busy, bool(backlog), backlog.awaits(first)) == (1, 1, False, False)
    assert [one.made_for for one in (*some, *others)] == [CHANGE, CHANGE | SWEEP, 0, 0, CHANGE | SWEEP]
    assert not any(one.causes for one in (*some, *others))
    assert backlog.take(10, with_requests=True) == {}


async def test_what_is_watched_of_several_that_changed_is_one_batch(sockets, watching):
    backlog = Backlog(sockets)
    (first, some), (second, others) = watching(2), watching(2)
    for watched in ([some[0]], [others[1]]):
        backlog.mark_all(dict.fromkeys(watched), CHANGE)

    assert taken(backlog.take(10, with_requests=True)) == {first: ["0"], second: ["1"]}
    assert backlog.take(10, with_requests=True) == {}


async def test_who_is_busy_is_marked_and_has_their_turn_afterwards(sockets, watching):
    backlog = Backlog(sockets)
    (first, [some]), (second, [other]) = watching(1), watching(1)
    changed = dict.fromkeys([some, other])
    backlog.mark([some], CHANGE)
    backlog.take(10, with_requests=True)

    backlog.mark_all(changed, CHANGE)
    assert taken(backlog.take(10, with_requests=True)) == {second: ["0"]}
    backlog.put_back(first, [])
    assert taken(backlog.take(10, with_requests=True)) == {first: ["0"]}


async def test_what_was_marked_otherwise_or_finds_no_room_is_taken_as_ever(sockets, watching):
    backlog = Backlog(sockets)
    (first, some), (second, [other]), (third, [last]) = watching(2), watching(1), watching(1)
    backlog.mark([some[1]], SWEEP)
    backlog.mark_all(dict.fromkeys([other, some[0], last]), CHANGE)

    assert taken(backlog.take(1, with_requests=True)) == {first: ["1"]}
    assert taken(backlog.take(1, with_requests=True)) == {second: ["0"]}
    backlog.mark_all(dict.fromkeys([some[0]]), CHANGE)
    backlog.put_back(first, [])
    assert taken(backlog.take(10, with_requests=True)) == {third: ["0"], first: ["0"]}


async def test_what_waited_for_its_answer_and_has_it_is_made_once(sockets, watching):
    backlog = Backlog(sockets)
    socket, [asked] = watching(1)
    asked.requests += (parse('{"model": "board.Card", "id": "0"}'),)
    backlog.mark([asked], REQUEST)
    assert backlog.take(10, with_requests=False) == {}
    asked.requests = ()  # by a view that was under way

    backlog.mark_all({asked: None}, CHANGE)
    batches = []
    while backlog:
        batches.append(taken(backlog.take(10, with_requests=False)))
        backlog.put_back(socket, [])
    assert [batch for batch in batches if batch] == [{socket: ["0"]}]


async def test_of_many_objects_that_changed_only_those_are_looked_at_that_a_socket_watches(sockets, watching):
    looked_at = []

    class Watched(dict):
        def __contains__(self, subscription):
            looked_at.append(subscription)
            return super().__contains__(subscription)

    backlog = Backlog(sockets)
    (first, some), (second, _) = watching(20), watching(2)
    for subscription in some:
        backlog.mark_all(Watched({subscription: None}), CHANGE)
    backlog.mark_all({}, CHANGE)  # all who watched it have left

    assert not backlog.awaits(second)
    assert len(looked_at) == 2
    assert backlog.awaits(first)


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_happens_nothing_is_lost_and_nothing_made_twice(sockets, watching, seed):
    """Every subscription is taken with all the causes for which it was marked, when its socket is not busy."""
    dice = random.Random(seed)
    backlog, under_way = Backlog(sockets), []
    watched = [subscription for _ in range(4) for subscription in watching(3)[1]]
    objects = {}  # all that is watched of each
    for subscription in watched:
        objects.setdefault(subscription.key, {})[subscription] = None
    owed = {}  # the causes for which each is to be evaluated

    def owe(subscriptions, cause):
        for subscription in subscriptions:
            owed[subscription] = owed.get(subscription, 0) | cause

    def take(room, with_requests):
        batch = backlog.take(room, with_requests=with_requests)
        assert sum(map(len, batch.values())) <= room
        for socket, items in batch.items():
            assert (socket.busy, len(set(items))) == (1, len(items))
            for one in items:
                cause = owed.pop(one, 0)
                assert one.made_for & cause == cause
                assert (one.is_current, one.causes, one in socket.dirty) == (True, 0, False)
                assert with_requests or not one.requests
        under_way.extend(batch.items())

    def put_back():
        socket, items = under_way.pop(dice.randrange(len(under_way)))
        again = [one for one in items if dice.random() < 0.2 and one.is_current]
        for one in again:
            owe([one], one.made_for)
        for one in set(items) - set(again):
            one.requests = ()
        backlog.put_back(socket, again)

    def leave(subscription):
        subscription.is_current = False
        subscription.socket.subscriptions.pop(subscription.key, None)
        if subscription in subscription.socket.dirty:
            del subscription.socket.dirty[subscription]
        objects[subscription.key].pop(subscription, None)
        owed.pop(subscription, None)

    for _ in range(150):
        some = [one for one in dice.sample(watched, 3) if one.is_current]
        match dice.randrange(8):
            case 0 if some:
                some[0].requests += (parse('{"model": "board.Card", "id": "0"}'),)
                owe(some[:1], REQUEST)
                backlog.mark(some[:1], REQUEST)
            case 1 | 2:
                changed = dice.choice(list(objects.values()))
                owe(changed, CHANGE)
                backlog.mark_all(changed, CHANGE)
            case 3:
                owe(some, SWEEP)
                backlog.mark(some, SWEEP, is_outdated=dice.random() < 0.5)
            case 4 if dice.random() < 0.1:
                leave(dice.choice(watched))
            case 5:
                take(dice.randrange(1, 6), dice.random() < 0.6)
            case 6 if under_way:
                put_back()
            case 7:
                backlog.resume()
        for subscription in owed:
            socket = subscription.socket
            assert socket.busy or socket.dirty or backlog.awaits(socket)

    for _ in range(1_000):
        while under_way:
            put_back()
        backlog.resume()
        take(5, True)
    assert (owed, bool(backlog), [socket for socket in sockets if socket.busy or socket.dirty]) == ({}, False, [])


async def test_a_change_answers_no_request_that_has_to_wait(sockets, watching):
    backlog = Backlog(sockets)
    socket, [asked] = watching(1)
    asked.requests += (parse('{"model": "board.Card", "id": "0"}'),)  # could not be decided, and is not dirty
    backlog.mark_all(dict.fromkeys([asked]), CHANGE)

    assert backlog.take(10, with_requests=False) == {}
    assert not socket.busy

    backlog.resume()
    assert taken(backlog.take(10, with_requests=True)) == {socket: ["0"]}


async def test_what_is_asked_for_waits_until_it_may_be_answered_and_what_changed_does_not(sockets, watching):
    backlog = Backlog(sockets)
    (asking, [asked, changed]), (other, [also]) = watching(2), watching(1)
    for subscription in (asked, also):
        subscription.requests += (parse('{"model": "board.Card", "id": "0"}'),)
        backlog.mark([subscription], REQUEST)
    backlog.mark([changed], CHANGE)

    assert taken(backlog.take(10, with_requests=False)) == {asking: ["1"]}
    backlog.put_back(asking, [])
    assert backlog.take(10, with_requests=False) == {}
    assert not backlog

    backlog.resume()
    assert taken(backlog.take(10, with_requests=True)) == {asking: ["0"], other: ["0"]}


async def test_who_has_left_is_not_told_what_they_asked_for(sockets, watching):
    backlog = Backlog(sockets)
    socket, [asked] = watching(1)
    asked.requests += (parse('{"model": "board.Card", "id": "0"}'),)
    backlog.mark([asked], REQUEST)
    backlog.take(10, with_requests=False)

    backlog.forget(socket)
    backlog.resume()

    assert not backlog


async def test_what_is_given_up_is_not_marked_and_not_put_back(sockets, watching):
    backlog = Backlog(sockets)
    socket, [kept, given_up] = watching(2)
    given_up.is_current = False
    backlog.mark([given_up], CHANGE)
    assert not backlog

    backlog.put_back(socket, [kept, given_up])
    assert socket.dirty == {kept: False}
    sockets.discard(socket)
    backlog.take(10, with_requests=True)
    backlog.put_back(socket, [kept])
    assert not backlog


async def test_the_causes_of_what_is_made_are_kept_until_it_is_made(sockets, watching):
    backlog = Backlog(sockets)
    socket, [subscription] = watching(1)
    backlog.mark([subscription], CHANGE)
    backlog.mark([subscription], SWEEP)
    backlog.take(10, with_requests=True)
    assert (subscription.made_for, subscription.causes) == (CHANGE | SWEEP, 0)

    backlog.mark([subscription], REQUEST)
    backlog.put_back(socket, [subscription])  # what was made was not sent
    backlog.take(10, with_requests=True)
    assert (subscription.made_for, subscription.causes) == (CHANGE | SWEEP | REQUEST, 0)
