"""PostgreSQL is restarted under those who write and those who read."""

from __future__ import annotations

import asyncio
import signal

import pytest

from .crowd import RECOVERY


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
async def test_postgresql_is_away_when_a_gateway_hears_of_the_last_change(site, crowd, way):
    await crowd.gather(site.gateway.address, site.workers.address)

    async with crowd.writing() as written:
        await site.writer.do("go_on", seconds=0.3)
        site.wire.hold()
        await site.writer.do("save_once")
        await asyncio.to_thread(site.postgresql.kill, way)
        site.wire.let_go()
        await site.writer.do("go_on", seconds=0.5)
    await asyncio.to_thread(site.postgresql.start)

    await crowd.settle(within=RECOVERY)
    assert written.errors == []
    assert written.database_errors != []
    assert crowd.thrown_out == []
