"""Clients stop reading, or vanish; and one of them is a viewer for whom a serializer raises."""

from __future__ import annotations

import asyncio

from .crowd import PROMPT, RECOVERY, until
from .site import PING_INTERVAL, PING_TIMEOUT, SLOW_CLIENT_TIMEOUT

TOO_SLOW = 4408  # the close code
# Seconds by which a gateway may be late to find out what takes a certain time to be certain of.
GRACE = 5
# Seconds in which so much is written that all buffers on the way to a client are full.
FULL = 10


async def test_a_client_that_takes_nothing_is_closed_alone_and_misses_nothing_when_it_is_back(site, crowd):
    await crowd.gather(site.gateway.address)
    slow = crowd.connect("amira", f"127.0.0.1:{site.to_gateway.port}")
    await crowd.be_answered()

    site.to_gateway.hold()
    slow.may_connect.clear()
    async with asyncio.timeout(SLOW_CLIENT_TIMEOUT + FULL + GRACE):
        while sockets(site, site.gateway) == 6:
            await site.writer.do("write_much")

    await crowd.come_to_know(PROMPT)  # all others
    site.to_gateway.let_go()
    slow.may_connect.set()
    await crowd.settle(within=RECOVERY)
    assert crowd.thrown_out == [("amira", TOO_SLOW)]


async def test_a_client_that_vanishes_is_found_out_and_misses_nothing_when_it_is_back(site, crowd):
    await crowd.gather(site.strict.address)
    gone = crowd.connect("amira", f"127.0.0.1:{site.to_strict.port}")
    await crowd.be_answered()

    met = site.to_strict.hush()
    gone.vanish()
    await site.writer.do("rewrite")

    limit = PING_INTERVAL + PING_TIMEOUT + GRACE
    await until(lambda: sockets(site, site.strict) == 5, limit, lambda: "It was not found out.")
    gone.may_connect.set()
    await crowd.settle(within=RECOVERY)
    assert met == 1
    assert len(gone.processes) == 2
    assert [name for name, _ in crowd.thrown_out] == ["amira"]


async def test_a_serializer_that_raises_for_one_viewer_has_nothing_to_show_to_them_and_all_to_the_others(site, crowd):
    for name in ("amira", "ben", "cleo"):
        crowd.connect(name, site.workers.address, crowd.board, *crowd.cards)
    await crowd.be_answered()

    await site.writer.do("name_board", name="cleo")

    await crowd.settle(within=PROMPT)
    assert [view and view["name"] for _, view in crowd.views(crowd.board)] == ["cleo", "cleo", None]

    await site.writer.do("name_board", name="Hiring")

    await crowd.settle(within=PROMPT)
    assert [view and view["name"] for _, view in crowd.views(crowd.board)] == ["Hiring", "Hiring", "Hiring"]
    assert crowd.thrown_out == []


def sockets(site, gateway):
    """How many clients a gateway believes to have."""
    return site.state(gateway)["sockets"]
