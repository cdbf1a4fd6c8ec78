"""One set of servers for all faults, and a crowd of clients for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .crowd import Crowd
from .site import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .site import Site


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    with opened() as site:
        yield site


@pytest.fixture
async def crowd(site: Site) -> AsyncIterator[Crowd]:
    """Nobody yet. The cards are as at the beginning."""
    site.repair()
    before = len(site.outputs())
    crowd = Crowd(site, site.workers, await site.writer.do("prepare"))
    try:
        yield crowd
    finally:
        await crowd.end()
        await site.writer.do("end")
        print(site.outputs()[before:])  # shown where the test has failed
