"""The hub tells whoever attends it when it starts, hears a roll call and stops; nobody attends unless they ask to."""

from __future__ import annotations

import asyncio

import pytest
from clients import until
from django.apps import apps

from livegate.gateway import rolls
from livegate.gateway.audit.attendance import Attendance
from livegate.gateway.courier import courier
from livegate.gateway.notices import Notice


class Listed:
    """An attendant that notes what it is told."""

    def __init__(self, hub):
        self.hub = hub
        self.told = []

    async def keep_attending(self):
        self.told.append("begun")
        await asyncio.Event().wait()

    def call(self, token):
        self.told.append(token)

    async def stop(self):
        self.told.append("stopped")


@pytest.fixture
def listed(monkeypatch):
    made = []
    monkeypatch.setattr("livegate.gateway.hub.attendants", [lambda hub: made.append(Listed(hub)) or made[-1]])
    return made


async def test_an_attendant_is_told_from_the_start_to_the_end(demo, connect, listed):
    client = await connect(demo.amira)
    [one] = listed
    courier.post([Notice("roll", token="who")])
    await until(lambda: "who" in one.told)
    assert len(one.hub.identity) == 16
    assert len(one.hub.sockets) == 1

    await client.close()

    assert one.told == ["begun", "who", "stopped"]


async def test_without_attendants_a_roll_call_is_nothing(demo, connect, monkeypatch):
    monkeypatch.setattr("livegate.gateway.hub.attendants", [])
    client = await connect(demo.amira)

    courier.post([Notice("roll", token="who")])

    await client.nothing()


def test_the_audit_attends():
    assert apps.is_installed("livegate.gateway.audit")
    assert rolls.attendants == [Attendance]
