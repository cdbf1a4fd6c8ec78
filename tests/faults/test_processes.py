"""Processes are killed in the midst of their work; and several of them serve one site."""

from __future__ import annotations

import asyncio
import signal

from .crowd import PROMPT, RECOVERY
from .site import SWEPT


async def test_a_gateway_is_killed_and_its_clients_come_back_to_the_one_that_takes_its_place(site, crowd):
    await crowd.gather(site.gateway.address, site.workers.address)

    async with crowd.writing(site.workers) as written:
        await site.writer.do("go_on", seconds=0.5)
        site.gateway.kill()
        await site.writer.do("save_once")
        await asyncio.to_thread(site.gateway.start)

    await crowd.settle(within=RECOVERY)
    assert written.troubles == []
    assert len(crowd.thrown_out) == len(crowd.clients) / 2


async def test_a_writer_is_killed_after_the_commit_and_before_it_has_told_anybody(site, crowd):
    await crowd.gather(site.strict.address)

    killed = await site.command("rewrite_and_die", site.redis_port)

    await crowd.settle(within=SWEPT)
    assert killed.returncode == -signal.SIGKILL
    assert crowd.views(crowd.cards[1])[2] == ("cleo", None)  # whose right it took
    assert crowd.thrown_out == []


async def test_two_workers_and_a_plain_writer_show_everybody_their_own(site, crowd):
    await crowd.gather_on_both(site.workers.address)
    before = dict(crowd.views(crowd.cards[1]))

    saved_once = await site.command("save_once", site.redis_port)

    await crowd.settle(within=PROMPT)
    assert saved_once.returncode == 0
    assert {client.name for client in crowd.clients if client.views[crowd.quiet]} == {"amira"}
    after = dict(crowd.views(crowd.cards[1]))
    assert after["amira"]["title"] != before["amira"]["title"]
    assert [view and sorted(view.keys() - after["cleo"].keys()) for view in after.values()] == [
        ["salary"],
        ["salary"],
        [],
        None,
        None,
    ]
    assert len({client.processes[0] for client in crowd.clients}) == 2
    assert crowd.thrown_out == []
