"""The example site as a server runs it, and at the server's end the tasks that are left in its event loop."""

from __future__ import annotations

import asyncio
from typing import Any

from config.asgi import application as site


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Django and livegate, which know no lifespan; here it tells when all connections are gone."""
    if scope["type"] != "lifespan":
        await site(scope, receive, send)
        return
    while (event := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{event['type']}.complete"})
    others = asyncio.all_tasks() - {asyncio.current_task()}
    print("Left:", *sorted(task.get_coro().__qualname__ for task in others), flush=True)
    await send({"type": "lifespan.shutdown.complete"})
