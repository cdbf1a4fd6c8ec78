"""The clients' process: thousands of WebSockets in one loop, which does as told on its standard input.

While messages come in it only notes them and the time; it looks into them when asked whether they were right.
"""

from __future__ import annotations

import json
import os
import re
import select
import struct
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from .sockets import ClientSocket, raise_limit
from .verification import Expected, answers_among, etag_of, faults_of, judged, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = sys.stdin.fileno()
UNAUTHORIZED = repr((4401).to_bytes(2, "big"))[2:-1]  # as the text of a close frame has it
SHOWN = 5  # faults that are told in words


class Client:
    """One socket, what it has received, and what it should have."""

    def __init__(self, name: str, card: int, socket: ClientSocket, expected: Expected) -> None:
        self.name = name
        self.card = card
        self.socket = socket
        self.expected = expected
        self.wishes: list[bytes] = []
        self.answers = 0
        self.received: list[tuple[float, bytes]] = []
        self.closed_at: float | None = None

    @property
    def is_served(self) -> bool:
        """Whether it is up, and has an answer to all that it wished."""
        return self.socket.is_up and self.answers == len(self.wishes)

    def has(self, version: int, field: bytes) -> bool:
        """Whether the last message is of this version or a later one, and holds this."""
        last = self.received[-1][1] if self.received else b""
        return version_of(last) >= version and field in last


class Clients:
    """All clients. Its public methods are the commands; what they return is the reply."""

    def __init__(self) -> None:
        self.poll = select.epoll()
        self.clients: dict[int, Client] = {}
        self.log: list[tuple[float, Client, bytes]] = []  # what was received since the last ``expect``, in their order
        self.gone: list[str] = []
        self.shown: list[tuple[str, str]] = []  # the name and the ETag of each view that was verified

    # Commands

    def open(self, port: int, patience: float, sockets: list[dict[str, Any]]) -> dict[str, Any]:
        """Connect all these at once, and subscribe each as soon as it is up. When the last one was answered,
        ``took`` tells the seconds since the first one began."""
        started = time.monotonic()
        opened = []
        for wanted in sockets:
            expected = Expected(
                wanted["payload"],
                frozenset(wanted["fields"]),
                tuple(wanted["held"]),
                tuple(wanted["empty"]),
                wanted["fixed"],
            )
            client = Client(wanted["name"], wanted["card"], ClientSocket(port, wanted["path"]), expected)
            client.wishes = [wish.encode() for wish in wanted["subscribe"]]
            self.clients[client.socket.fileno()] = client
            self.poll.register(client.socket.fileno(), select.EPOLLOUT)
            opened.append(client)
        return self.wait_for_answers(opened, started, patience)

    def subscribe(self, patience: float, wishes: list[list[str]]) -> dict[str, Any]:
        """Let every client, in the order in which they were opened, subscribe to more."""
        started = time.monotonic()
        for client, texts in zip(self.clients.values(), wishes, strict=True):
            client.wishes += [text.encode() for text in texts]
            for text in texts:
                client.socket.send(text.encode())
        return self.wait_for_answers(list(self.clients.values()), started, patience)

    def gather(self, patience: float, per_client: int) -> dict[str, Any]:
        """Wait until every client has so many messages: the time of the last one, and how busy this process was."""
        busy, missing = time.process_time(), len(self.clients) * per_client
        deadline = time.monotonic() + patience
        while len(self.log) < missing and not self.gone and time.monotonic() < deadline:
            self.turn(deadline - time.monotonic())
        last = self.log[-1][0] if self.log else 0.0
        first = self.log[0][0] if self.log else 0.0
        return {"last": last, "first": first, "busy": time.process_time() - busy}

    def gather_version(self, patience: float, version: int) -> dict[str, Any]:
        """Wait until the last message of every client is of a version. ``messages`` counts all of them."""
        behind = set(self.clients)
        deadline = time.monotonic() + patience
        seen = 0
        while behind and not self.gone and time.monotonic() < deadline:
            self.turn(deadline - time.monotonic())
            for client, text in self.received_since(seen):
                if version_of(text) == version:
                    behind.discard(client.socket.fileno())
            seen = len(self.log)
        last = max((client.received[-1][0] for client in self.clients.values() if client.received), default=0.0)
        return {"last": last, "behind": len(behind)}

    def follow(self, patience: float, per_card: int, done: int) -> dict[str, Any]:
        """Until the next command comes, write to the pipe ``done`` each card and version that all the viewers of the
        card have received."""
        missing: dict[tuple[int, int], int] = {}
        deadline = time.monotonic() + patience
        seen = 0
        while time.monotonic() < deadline and COMMANDS not in self.turn(deadline - time.monotonic()):
            for client, text in self.received_since(seen):
                event = client.card, version_of(text)
                left = missing[event] = missing.get(event, per_card) - 1
                if not left:
                    os.write(done, struct.pack("!II", *event))
            seen = len(self.log)
        return {}

    def verify(self, linger: float, versions: dict[str, list[int]]) -> dict[str, Any]:
        """Look at all that came since the last time: each client of a card must have received these versions of it.

        Waits ``linger`` seconds before for what is too much. ``times`` are those at which the versions came, by card.
        """
        self.listen(linger)
        faults = list(self.gone)
        times: dict[str, list[list[float]]] = {card: [] for card in versions}
        for client in self.clients.values():
            card = str(client.card)
            faults += faults_of(
                client.name, client.expected, [text for _, text in client.received], versions.get(card, [])
            )
            if card in times:
                times[card].append([at for at, _ in client.received])
            self.shown += [(client.name, etag_of(text)) for _, text in client.received]
        return {**self.forget(faults), "times": times}

    def tell_shown(self) -> list[tuple[str, str]]:
        """To whom which view was shown, of all that was verified since the last time."""
        shown, self.shown = self.shown, []
        return shown

    def verify_last(self, linger: float, version: int) -> dict[str, Any]:
        """Look at all that came since the last time: versions that never fall, the last of them this one, all right
        for their viewer. Waits until nothing has come for ``linger`` seconds."""
        while self.listen(linger):
            pass
        faults = list(self.gone)
        messages = 0
        for client in self.clients.values():
            texts = [text for _, text in client.received]
            versions = [version_of(text) for text in texts]
            messages += len(texts)
            if versions != sorted(versions) or versions[-1:] != [version]:
                faults.append(f"{client.name} received the versions {versions[-5:]} at last, instead of {version}")
            faults += faults_of(client.name, client.expected, texts, versions)
        return {**self.forget(faults), "messages": messages}

    def await_version(self, patience: float, names: list[str], version: int, holding: str) -> dict[str, Any]:
        """Wait until the last message of each of these clients is of a version, and holds a field, if one
        is named. Then all that came is forgotten."""
        field = f'"{holding}"'.encode() if holding else b""
        waited_for = [one for one in self.clients.values() if one.name in names]
        deadline = time.monotonic() + patience
        while True:
            behind = [one for one in waited_for if one.closed_at is None and not one.has(version, field)]
            if not behind or time.monotonic() > deadline:
                self.forget([])
                return {"behind": len(behind)}
            self.turn(deadline - time.monotonic())

    def await_word(self, patience: float, word: str) -> dict[str, Any]:
        """Wait until every client has a message with this word: the time of the last one."""
        without = set(self.clients)
        last, seen = 0.0, 0
        deadline = time.monotonic() + patience
        while True:
            for at, client, text in self.log[seen:]:
                if word.encode() in text and client.socket.fileno() in without:
                    without.discard(client.socket.fileno())
                    last = at
            seen = len(self.log)
            if not without or time.monotonic() > deadline:
                return {"last": last, "without": len(without)}
            self.turn(deadline - time.monotonic())

    def await_current(self, patience: float, versions: dict[str, int]) -> dict[str, Any]:
        """Wait until every client has the version of its card, and was told that it is current, if it was told that it
        may not be: the time of the last one."""
        behind, told = set(self.clients), set()
        seen = 0
        deadline = time.monotonic() + patience
        while True:
            for client, text in self.received_since(seen):
                descriptor = client.socket.fileno()
                if b'"DELAYED"' in text:
                    told.add(descriptor)
                elif b'"CURRENT"' in text:
                    told.discard(descriptor)
                elif version_of(text) >= versions[str(client.card)]:
                    behind.discard(descriptor)
            seen = len(self.log)
            if not (behind or told) or time.monotonic() > deadline:
                last = self.log[-1][0] if self.log else 0.0
                return {"last": last, "behind": len(behind | told), "messages": seen}
            self.turn(deadline - time.monotonic())

    def ask_in_turn(self, patience: float, viewer: str, requests: list[list[Any]]) -> list[list[list[Any]]]:
        """Let one client ask one thing after the other, or several together, each time so many seconds after the last
        answer: of each time the answers, after how many seconds they came and whether they were refusals."""
        [client] = [one for one in self.clients.values() if one.name == viewer]
        deadline = time.monotonic() + patience
        answers: list[list[list[Any]]] = []
        for *texts, pause in requests:
            self.listen(pause)
            client.received = []
            asked = time.monotonic()
            for text in texts:
                client.socket.send(text.encode())
            while len(answers_among(client.received)) < len(texts) and time.monotonic() < deadline:
                self.turn(deadline - time.monotonic())
            answers.append([[at - asked, b"not_found" in answer] for at, answer in answers_among(client.received)])
        self.forget([])
        return answers

    def judge(self, leaves: str, field: str, samples: list[list[Any]]) -> dict[str, Any]:
        """Look at what came to clients from whom something was taken, given their names, the moment of the commit and
        the version that was the last then: the seconds after which it was gone."""
        by_name = {client.name: client for client in self.clients.values()}
        faults = [fault for fault in self.gone if not any(f"{name} " in fault for name, _, _ in samples)]
        latencies = []
        for name, at, version in samples:
            latency, fault = judged(
                by_name[name].received, by_name[name].closed_at, leaves, f'"{field}"'.encode(), at, version
            )
            latencies.append(latency)
            faults += [f"{name} {fault}"] if fault else []
        self.gone = []
        return {**self.forget(faults), "latencies": latencies}

    def close(self) -> dict[str, Any]:
        """Close all sockets, and forget what was wrong with them."""
        for client in self.clients.values():
            client.socket.close()
        self.clients.clear()
        self.log, self.gone = [], []
        return {}

    # The loop

    def wait_for_answers(self, clients: list[Client], started: float, patience: float) -> dict[str, Any]:
        """Wait until these are up, and have an answer for each wish."""
        waiting = {client.socket.fileno(): client for client in clients if not client.is_served}
        deadline = started + patience
        ended = started
        while waiting and not self.gone and time.monotonic() < deadline:
            for descriptor in self.turn(deadline - time.monotonic()):
                client = waiting.get(descriptor)
                if client and client.is_served:
                    ended = time.monotonic()
                    del waiting[descriptor]
        late = [f"{len(waiting)} subscriptions were not answered"] if waiting else []
        return {"took": ended - started, "faults": [*self.gone[:SHOWN], *late]}

    def received_since(self, position: int) -> Iterator[tuple[Client, bytes]]:
        return ((client, text) for _, client, text in self.log[position:])

    def turn(self, patience: float) -> list[int]:
        """Wait for something to come and take it in; gives the descriptors that something came of."""
        ready = self.poll.poll(max(0.0, patience))
        for descriptor, event in ready:
            client = self.clients.get(descriptor)
            if client is not None:
                self.take_in(client, event)
        return [descriptor for descriptor, _ in ready]

    def take_in(self, client: Client, event: int) -> None:
        socket = client.socket
        if event & select.EPOLLOUT and not event & select.EPOLLERR:
            self.poll.modify(socket.fileno(), select.EPOLLIN)
            socket.greet()
            return
        was_up = socket.is_up
        texts = socket.receive()
        now = time.monotonic()
        if socket.is_up and not was_up:
            for wish in client.wishes:
                socket.send(wish)
        for text in texts:
            if client.answers < len(client.wishes):
                self.take_answer(client, text)
            else:
                client.received.append((now, text))
                self.log.append((now, client, text))
        if socket.closed_by:
            client.closed_at = now if UNAUTHORIZED in socket.closed_by else None
            self.gone.append(f"{client.name} was closed by the server: {socket.closed_by}")
            self.poll.unregister(socket.fileno())

    def take_answer(self, client: Client, text: bytes) -> None:
        client.answers += 1
        if b"SUBSCRIBED" not in text:
            self.gone.append(f"{client.name} could not subscribe: {text[:200]!r}")

    def listen(self, seconds: float) -> bool:
        """Whether anything came within these seconds; what came is taken in."""
        before = len(self.log)
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.turn(left)
        return len(self.log) > before

    def forget(self, faults: list[str]) -> dict[str, Any]:
        for client in self.clients.values():
            client.received = []
        self.log = []
        kinds = Counter(re.sub(r"\d+", "…", fault) for fault in faults)
        return {"faults": faults[:SHOWN], "fault_count": sum(kinds.values())}


def serve() -> None:
    """Carry out one command after the other, each a line of JSON: its name and its arguments. Between them the
    sockets are minded: a server closes one that does not answer its pings."""
    raise_limit()
    clients = Clients()
    clients.poll.register(COMMANDS, select.EPOLLIN)
    pending = b""
    while True:
        if COMMANDS not in clients.turn(60):
            continue
        came = os.read(COMMANDS, 1 << 20)
        if not came:
            return
        *lines, pending = (pending + came).split(b"\n")
        for line in lines:
            name, arguments = json.loads(line)
            print(json.dumps(getattr(clients, name)(**arguments)), flush=True)


if __name__ == "__main__":
    serve()
