"""The examiner: whoever is in doubt is looked at, some at a time; those who left are not."""

from __future__ import annotations

import asyncio

import pytest
from clients import until

from livegate.gateway import examiner as examiner_module
from livegate.gateway.credentials import Credentials
from livegate.gateway.examiner import Examiner
from livegate.gateway.subscriptions import Socket


@pytest.fixture
async def examination(monkeypatch, viewer):
    """An examiner, sockets, whom it was asked about, and whom it expelled."""

    class Examination:
        def __init__(self):
            self.sockets = [Socket(Credentials.of_scope({}, viewer()), None, None) for _ in range(5)]
            self.over = set()
            self.batches = []
            self.expelled = []
            self.examiner = Examiner(self.expelled.append)

        def ended(self, credentials):
            self.batches.append(len(credentials))
            return {one for one in credentials if one in self.over}

    examination = Examination()
    monkeypatch.setattr(examiner_module, "ended", examination.ended)
    examining = asyncio.create_task(examination.examiner.keep_examining())
    yield examination
    examining.cancel()
    await asyncio.wait([examining])
    await examination.examiner.stop()


async def test_those_who_may_not_stay_are_expelled_and_no_others(examination):
    examination.over = {examination.sockets[1].credentials}

    examination.examiner.examine(examination.sockets)
    await until(lambda: examination.expelled)

    assert examination.expelled == [examination.sockets[1]]
    assert examination.batches == [5]


async def test_many_are_looked_at_some_at_a_time(examination, settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "BATCH_SIZE": 2}

    examination.examiner.examine(examination.sockets)
    await until(lambda: len(examination.batches) == 3)

    assert examination.batches == [2, 2, 1]


async def test_who_has_left_is_not_looked_at(examination):
    examination.examiner.examine(examination.sockets[:2])
    examination.examiner.forget(examination.sockets[0])
    examination.examiner.forget(examination.sockets[4])
    await until(lambda: examination.batches)

    assert examination.batches == [1]


async def test_when_all_have_left_nobody_is_looked_at(examination):
    examination.examiner.examine(examination.sockets[:1])
    examination.examiner.forget(examination.sockets[0])
    await until(lambda: not examination.examiner._doubts.is_set())
    examination.examiner.examine(examination.sockets[1:])
    await until(lambda: examination.batches)

    assert examination.batches == [4]


async def test_nobody_is_looked_at_for_nothing(examination):
    examination.examiner.examine([])
    await asyncio.sleep(0)

    assert not examination.examiner._doubts.is_set()
