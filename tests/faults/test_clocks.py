"""The clock of a gateway jumps, and is then another than that of all other processes."""

from __future__ import annotations

from .crowd import PROMPT, until
from .site import SWEPT

HOUR, DAY = 3_600, 86_400


async def test_who_may_stay_stays_and_is_told_and_who_may_not_by_the_new_time_is_closed(site, crowd):
    for_an_hour = await site.writer.do("log_in", name="amira", seconds=HOUR)
    for_a_month = await site.writer.do("log_in", name="ben", seconds=30 * DAY)
    crowd.connect("amira", site.strict.address, additional_headers={"Cookie": f"sessionid={for_an_hour}"})
    crowd.connect("ben", site.strict.address, additional_headers={"Cookie": f"sessionid={for_a_month}"})
    crowd.connect("cleo", site.strict.address)
    crowd.connect("dev", site.strict.address, query=f"?expires={HOUR}")
    await crowd.be_answered()

    await jump(site, -DAY)
    await crowd.settle(within=PROMPT)
    assert crowd.thrown_out == []

    await jump(site, DAY)
    await crowd.settle(within=PROMPT)
    assert sorted(crowd.thrown_out) == [("amira", 4401), ("dev", 4401)]

    await jump(site, 0)
    await crowd.settle(within=PROMPT)
    assert len(crowd.thrown_out) == 2


async def jump(site, seconds):
    """Set the clock so far from the true time, and wait until everything was looked at."""
    before = site.state(site.strict, clock=seconds)["sweeps"]
    await until(lambda: site.state(site.strict)["sweeps"] >= before + 2, 2 * SWEPT, lambda: "It does not sweep.")
