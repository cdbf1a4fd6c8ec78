"""The site as the gateways of these tests serve it: they say how they are, their clock can be set, and how long a
view may wait for its record, and the right to be connected can be given an end.

A WebSocket is answered with a header that says which process it has reached; ``?expires=N`` ends its right after so
many seconds.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import time_machine
from config.asgi import application as site

from livegate.gateway import hub, metrics, recorder

PROCESS = b"x-process"
clocks = []


async def application(scope, receive, send):
    asked = {name: float(value) for name, [value] in parse_qs(scope.get("query_string", b"").decode()).items()}
    if scope["type"] == "websocket":
        if "expires" in asked:
            scope = {**scope, "expires": datetime.now(UTC) + timedelta(seconds=asked["expires"])}
        await site(scope, receive, naming_the_process(send))
    elif scope.get("path") == "/faults/":
        if "clock" in asked:
            set_clock(asked["clock"])
        if "wait" in asked:
            recorder.LONGEST_WAIT = asked["wait"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": json.dumps(state()).encode()})
    else:
        await site(scope, receive, send)


def naming_the_process(send):
    async def named(message):
        if message["type"] == "websocket.accept":
            message = {**message, "headers": [*message.get("headers", []), (PROCESS, str(os.getpid()).encode())]}
        await send(message)

    return named


def set_clock(seconds):
    """So many seconds from the true time; what measures durations goes on as before."""
    while clocks:
        clocks.pop().stop()
    if seconds:
        clock = time_machine.travel(datetime.now(UTC) + timedelta(seconds=seconds), tick=True)
        clock.start()
        clocks.append(clock)


def state():
    processes = [one.identity for one in hub._hubs.values()]
    return {"processes": processes, **metrics.counts(), **metrics.gauges()}
