"""Redis fails in every way in which it can."""

from __future__ import annotations

# Seconds for which a fault lasts, where nothing else ends it: longer than anybody waits for the channel layer.
OUTAGE = 2
# Seconds after the end of a fault within which everybody holds the truth.
RECOVERY = 15


async def test_redis_is_killed_and_what_was_saved_meanwhile_is_not_lost(site, crowd):
    await crowd.gather(site.gateway.address, site.workers.address)

    async with crowd.writing(site.gateway, site.workers) as written:
        site.redis.kill()
        await site.writer.do("go_on", seconds=OUTAGE)
    site.redis.start()

    await crowd.settle(within=RECOVERY)
    assert written.troubles == []
