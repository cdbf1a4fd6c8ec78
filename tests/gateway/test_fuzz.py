"""Fuzzing of what clients send: whatever it is, it is answered by the protocol, costs nobody else anything, and leaves
nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections import Counter
from itertools import chain

import pytest
from asgiref.sync import sync_to_async
from clients import PATIENCE, connected, until
from django.db import connections
from guardian.shortcuts import assign_perm, remove_perm
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from lab.models import Document, Page, Tracked

from livegate.gateway import hub as hub_module
from livegate.gateway.backlog import Backlog
from livegate.gateway.evaluation import evaluate
from livegate.gateway.frames import ERRORS

pytestmark = pytest.mark.django_db(transaction=True)

MAX_SUBSCRIPTIONS = 2
MAX_FRAME_BYTES = 2_000
# What a frame may hold besides what was sent to be sent back: a view, or a code and its words.
MOST_BYTES = 1_000
# A number may be written longer than it was sent: 1e15, with all its zeros.
EXPANSION = 6

# Messages, good and bad

ANY_TEXT = st.text(st.characters(codec=None), max_size=40)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**70), max_value=2**70),
    st.floats(),
    ANY_TEXT,
    st.sampled_from(["\0", "\ud800", "board.Card", "lab.Page", "subscribe", "ﬀ", "İ", "a" * 300, "1e999"]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["action", "model", "id", "request_id", "etag", "filter", "type", "", "__class__", "\0"])
LABELS = st.sampled_from(["board.Card", "lab.Page", "lab.Document", "lab.Tracked"])
ODD_LABELS = st.sampled_from(["board.card", "lab.Slug", "no.Such", "lab.Päge", "lab.Page\0", "", ".", "x" * 900])


NONE_HELD = {None, "", '""', 'W/""'}


@st.composite
def etags(draw):
    """As in a frame, or as in a header."""
    return draw(st.sampled_from(["{}", "{}", '"{}"', 'W/"{}"'])).format(draw(st.text("0123456789abcdef", max_size=32)))


@st.composite
def requests(draw):
    """A message of the protocol: about one of the objects (by its number), or about none."""
    message = {"action": draw(st.sampled_from(["subscribe", "subscribe", "unsubscribe", "ping"]))}
    if message["action"] != "ping":
        message["object"] = draw(st.integers(0, 9))
    if draw(st.booleans()):
        message["request_id"] = draw(SCALARS)
    if draw(st.booleans()):
        message["etag"] = draw(st.none() | etags())
    return message


@st.composite
def mutated(draw):
    """A message of the protocol, with something of it changed."""
    message = draw(requests())
    for _ in range(draw(st.integers(1, 3))):
        name = draw(NAMES)
        if draw(st.booleans()):
            message[name] = draw(JSON | ODD_LABELS | LABELS)
        else:
            message.pop(name, None)
    return message


@st.composite
def damaged(draw):
    """The text of a message, cut, doubled, or with something put into it."""
    text = json.dumps(draw(requests()), ensure_ascii=draw(st.booleans()))
    start, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    return text[:start] + draw(ANY_TEXT | st.just(text) | st.just("")) + text[end:]


def nested(depth, around):
    opening, closing = around
    return opening * depth + closing * depth


RAW = st.one_of(
    st.binary(max_size=200).map(lambda data: {"bytes": data}),
    st.builds(lambda text: {"text": text}, ANY_TEXT),
    st.builds(lambda text: {"text": text}, damaged()),
    st.builds(lambda data: {"text": json.dumps(data)}, JSON),
    st.builds(
        lambda depth, around: {"text": nested(depth, around)},
        st.integers(1, 1_100),
        st.sampled_from([("[", "]"), ('{"a":', "}"), ('{"request_id":[', "]}"), ("[[", "]")]),
    ),
    st.builds(
        lambda depth: {"text": f'{{"action": "ping", "request_id": {nested(depth, "[]")}}}'}, st.integers(200, 980)
    ),
    st.builds(
        lambda digits, rest: {"text": f'{{"action": "ping", "request_id": {digits}{rest}}}'},
        st.integers(1, 10**400),
        st.sampled_from(["", ".5", "e5", "e999", "e-999", "E+0"]),
    ),
    st.builds(lambda size: {"text": '{"id": "' + "a" * size + '"}'}, st.integers(MAX_FRAME_BYTES - 30, 9_000)),
)
FRAMES = st.one_of(requests(), requests(), mutated(), RAW)


# What is right


def is_closed(frame):
    """Whether a frame is one of those that the protocol knows, and has nothing else in it."""
    match frame:
        case {"type": "ERROR", "error": True, "payload": {"code": code, "detail": detail}, "meta": {"request_id": _}}:
            return ERRORS.get(code) == detail and frame.keys() == {"type", "error", "payload", "meta"}
        case {"type": "SUBSCRIBED", "payload": {"model": str(), "id": str()}, "meta": {"request_id": _}}:
            return frame.keys() == {"type", "payload", "meta"}
        case {"type": "PONG", "meta": {"request_id": _}}:
            return frame.keys() == {"type", "meta"}
        case {"type": str(kind), "payload": dict(), "meta": {"model": str(label), "id": str(), "etag": str()}}:
            return kind == f"UPDATE_{label.split('.')[1].upper()}"
        case {"type": str(kind), "payload": {"id": str()}, "meta": {"model": str(label), "id": str()}}:
            return kind == f"DELETE_{label.split('.')[1].upper()}"
    return False


def code_of(frame):
    return frame["payload"]["code"] if frame["type"] == "ERROR" else frame["type"]


def is_refusal_of_what_is_held(first, second):
    return first.startswith("DELETE_") and second == "not_found"


def codes_for(raw):
    """With which of the codes a frame has to be refused; None where it may be a message."""
    if "bytes" in raw:
        return {"binary_frame"}
    if len(raw["text"].encode(errors="replace")) > MAX_FRAME_BYTES:
        return {"frame_too_large"}
    try:
        data = json.loads(raw["text"])
    except (ValueError, RecursionError):
        return {"invalid_json"}
    if not isinstance(data, dict) or data.get("action", "subscribe") not in ("subscribe", "unsubscribe", "ping"):
        return {"invalid_json", "invalid_message"}
    return None


def is_plain(value):
    """Whether any two that speak JSON agree on what a value is."""
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    return value is None or isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53)


class Attacker:
    """A client that sends one frame after the other, and knows what each has to bring."""

    def __init__(self, client, socket, turns, objects, visible):
        self.client = client
        self.socket = socket
        self.turns = turns  # is set when the hub is done with a batch of some socket's
        self.objects = objects
        self.visible = {key_of(objects[number]) for number in visible}
        self.sent = self.sent_bytes = self.received = self.received_bytes = 0

    async def send(self, message):
        """Send a frame: a raw one, or a message about one of the objects."""
        raw = message
        if not message or not message.keys() <= {"text", "bytes"}:
            about = self.objects[message["object"]] if isinstance(message.get("object"), int) else {}
            message = {**{name: value for name, value in message.items() if name != "object"}, **about}
            raw = {"text": json.dumps(message)}
        before = set(self.socket.subscriptions)
        await self.client.send_raw(**raw)
        answers = await self.answers()
        self.sent += 1
        self.sent_bytes += len(raw.get("text", "").encode(errors="replace"))
        said = [code_of(frame) for frame in answers]
        codes = codes_for(raw)
        if codes is not None:
            assert len(said) == 1, (raw, answers)
            assert said[0] in codes, (raw, answers)
        elif raw is not message and is_good(message, self.objects):
            assert said == self.due(message, before), (raw, answers)
            assert all(same_id(frame, message) for frame in answers), (raw, answers)
        else:
            assert len(said) < 3, (raw, answers)
            assert len(said) < 2 or said[0] == "SUBSCRIBED" or is_refusal_of_what_is_held(*said), (raw, answers)
            assert "binary_frame" not in said, (raw, answers)
            assert "frame_too_large" not in said, (raw, answers)
        assert set(self.socket.subscriptions) <= self.visible, (raw, answers)
        assert len(self.socket.subscriptions) <= MAX_SUBSCRIPTIONS

    def due(self, message, before):
        """What a good message has to bring, by type or code."""
        key, action = key_of(message), message["action"]
        if action != "subscribe":
            return ["PONG"] if action == "ping" else []
        if message["model"] == "no.Such":
            return ["unknown_model"]
        if key not in before and len(before) >= MAX_SUBSCRIPTIONS:
            return ["too_many_subscriptions"]
        kind = message["model"].split(".")[1].upper()
        if key not in self.visible:
            return [*([] if message.get("etag") in NONE_HELD else [f"DELETE_{kind}"]), "not_found"]
        shown = "etag" in message and message["etag"] != self.socket.subscriptions[key].etag
        return [*(["SUBSCRIBED"] if "request_id" in message else []), *([f"UPDATE_{kind}"] if shown else [])]

    async def answers(self):
        """All that the last frame brings."""
        mark = f"mark {self.sent}"
        await self.client.send({"action": "ping", "request_id": mark})
        frames = []
        while not frames or frames[-1] != {"type": "PONG", "meta": {"request_id": mark}}:
            frames.append(json.loads((await self.client.take())["text"]))
        frames.pop()
        async with asyncio.timeout(PATIENCE):
            while self.socket.unanswered or self.socket.busy:
                self.turns.clear()
                await self.turns.wait()
        while not self.client._out.empty():
            frames.append(json.loads((await self.client.take())["text"]))
        assert all(map(is_closed, frames)), frames
        self.received += len(frames)
        self.received_bytes += sum(len(json.dumps(frame, ensure_ascii=False).encode()) for frame in frames)
        return frames


def key_of(message):
    return message.get("model", ""), message.get("id", "")


def is_good(message, objects):
    """Whether nothing is wrong with a message."""
    about = {name: message[name] for name in ("model", "id") if name in message}
    return (
        message.keys() <= {"action", "model", "id", "request_id", "etag"}
        and (about in objects or (not about and message.get("action") == "ping"))
        and message.get("action") in ("subscribe", "unsubscribe", "ping")
        and is_plain(message.get("request_id"))
        and isinstance(message.get("etag"), str | None)
        and is_plain(message.get("etag"))
    )


def same_id(frame, message):
    sent, given = message.get("request_id"), frame["meta"].get("request_id")
    return "model" in frame["meta"] or (given == sent and type(given) is type(sent))


def is_empty(hub):
    """Whether nothing is left in any table of a hub's."""
    tables = (
        hub.sockets,
        hub._registry.watching,
        hub._registry.by_token,
        hub._backlog,
        hub._examiner.doubted,
        hub._delivery.due,
    )
    return not any(tables) and all(task.done() for task in hub._tasks)


def is_consistent(hub):
    """Whether what is watched is what the sockets are subscribed to, and nothing is left to be done."""
    watched = [(one.socket, one.key) for one in hub.subscriptions()]
    subscribed = [(socket, key) for socket in hub.sockets for key in socket.subscriptions]
    assert set(watched) == set(subscribed)
    assert len(watched) == len(subscribed)
    assert {token for socket in hub.sockets for token in socket.tokens} == hub._registry.by_token.keys()
    assert not any((hub._backlog, hub._examiner.doubted, hub._delivery.due))
    for socket in hub.sockets:
        assert (socket.busy, socket.dirty, socket.unanswered) == (False, {}, 0)
        assert not any(one.requests for one in socket.subscriptions.values())
    return True


@pytest.fixture
def runner(caplog):
    """Runs one scenario after the other on one event loop, which hears of no error."""
    unhandled = []
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: unhandled.append(context))

        def run(scenario):
            runner.run(scenario)
            assert hub_module._hubs == {}
            assert unhandled == []
            assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

        yield run
        gc.collect()  # what nobody waited for is told now
        runner.run(sync_to_async(connections.close_all)())
    assert unhandled == []


@pytest.fixture
def turns(monkeypatch):
    """An event that is set whenever the hub has sent a socket what was due."""
    turns, put_back = asyncio.Event(), Backlog.put_back

    def noted(backlog, *given):
        put_back(backlog, *given)
        turns.set()

    monkeypatch.setattr(Backlog, "put_back", noted)
    return turns


def fuzz(examples):
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    # Not made smaller: the frame that was not answered as it had to be stands in the assertion.
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    return hypothesis_settings(deadline=None, max_examples=examples, phases=phases, suppress_health_check=checks)


def test_whatever_is_sent_is_answered_by_the_protocol_and_disturbs_nobody(demo, runner, turns, settings):
    settings.LIVEGATE = {
        **settings.LIVEGATE,
        "MAX_SUBSCRIPTIONS": MAX_SUBSCRIPTIONS,
        "MAX_FRAME_BYTES": MAX_FRAME_BYTES,
    }
    granted, hidden, gone = (Page.objects.create(text="x") for _ in range(3))
    assign_perm("lab.view_page", demo.ben, granted)
    instances = [demo.card, Tracked.objects.create(), Document.objects.create(), granted, hidden, gone]
    objects = [{"model": one._meta.label, "id": one.hashid} for one in instances]
    odd = [("lab.Page", demo.card.hashid), ("no.Such", "aaaaa"), ("lab.Page", "x" * 500), ("lab.Tracked", "ü")]
    objects += [{"model": label, "id": hashid} for label, hashid in odd]
    gone.delete()
    viewers = [(demo.admin, range(5)), (demo.ben, range(4)), (None, range(2))]
    frames_sent = []

    async def attack(frames):
        before = asyncio.all_tasks()
        async with connected() as connect:
            bystander = await connect(demo.cleo)
            await bystander.subscribe(demo.card)
            attackers = []
            for user, visible in viewers:
                known = set(hub_module._hubs[asyncio.get_running_loop()].sockets)
                client = await connect(user)
                hub = hub_module._hubs[asyncio.get_running_loop()]
                [socket] = hub.sockets - known
                attackers.append(Attacker(client, socket, turns, objects, visible))

            async def send_all(number):
                for by, frame in frames:
                    if by == number:
                        await attackers[number].send(frame)

            await asyncio.gather(*map(send_all, range(len(attackers))))

            await until(lambda: not hub._examiner.doubted)  # whoever came was to be examined once more
            assert is_consistent(hub)
            assert bystander._out.empty()
            for attacker in attackers:
                assert not attacker.client.task.done()
                assert attacker.received <= 2 * attacker.sent
                assert attacker.received_bytes <= EXPANSION * attacker.sent_bytes + MOST_BYTES * attacker.sent
            frames_sent.append(sum(attacker.sent for attacker in attackers))
            demo.card.title = f"after {len(frames_sent)} attacks"
            await sync_to_async(demo.card.save)()
            assert (await bystander.receive())["payload"]["title"] == demo.card.title
        assert is_empty(hub)
        assert asyncio.all_tasks() == before

    @fuzz(examples=60)
    @given(st.lists(st.tuples(st.integers(0, len(viewers) - 1), FRAMES), min_size=30, max_size=60))
    def run(frames):
        runner(attack(frames))

    run()
    assert sum(frames_sent) > 1_500


# Subscriptions that come and go

STEPS = st.one_of(
    st.tuples(st.sampled_from(["subscribe", "subscribe", "unsubscribe"]), st.integers(0, 2), st.integers(0, 4)),
    st.tuples(st.sampled_from(["save", "save", "grant", "revoke", "delete"]), st.integers(0, 2), st.integers(0, 4)),
)


def test_however_subscriptions_and_rights_come_and_go_each_client_ends_with_the_truth(demo, runner):
    users = [demo.ben, demo.cleo, demo.dev]
    steps_taken = []

    def make_pages():
        pages = [Page.objects.create(text="0") for _ in range(5)]
        for page in pages[1:]:
            assign_perm("lab.view_page", demo.ben, page)
            assign_perm("lab.view_page", demo.cleo, page)
        return pages

    def alter(kind, user, page, number):
        if kind == "grant":
            assign_perm("lab.view_page", user, page)
        elif kind == "revoke":
            remove_perm("lab.view_page", user, page)
        elif kind == "delete":
            Page.objects.filter(pk=page.pk).delete()
        elif Page.objects.filter(pk=page.pk).exists():
            page.text = str(number)
            page.save()

    async def come_and_go(steps):
        before = asyncio.all_tasks()
        pages = await sync_to_async(make_pages)()
        async with connected() as connect:
            everybody = [await connect(user) for user in users]
            hub = hub_module._hubs[asyncio.get_running_loop()]
            asked, given_up = {}, set()
            for number, (kind, who, which) in enumerate(steps):
                message = {"action": kind, "model": "lab.Page", "id": pages[which].hashid}
                if kind == "subscribe":
                    asked[number] = (who, which)
                    await everybody[who].send({**message, "request_id": number, "etag": None})
                elif kind == "unsubscribe":
                    given_up |= {one for one, about in asked.items() if about == (who, which)}
                    await everybody[who].send(message)
                else:
                    await sync_to_async(alter)(kind, users[who], pages[which], number)
            told = [[json.loads(text) for text in await client.rest()] for client in everybody]
            for client in everybody:
                await client.ask({"action": "ping"})
            # What ``rest`` changed last may have been shown before its notice was heard, which is looked at once more.
            await until(lambda: not any(socket.busy or socket.dirty for socket in hub.sockets))
            assert is_consistent(hub)
            assert all(map(is_closed, chain(*told)))
            answered = Counter()
            for frames in told:
                answered.update(frame["meta"]["request_id"] for frame in frames if "request_id" in frame["meta"])
            assert answered.keys() <= asked.keys()
            assert answered.keys() >= asked.keys() - given_up
            assert {*answered.values()} <= {1}
            await see_the_truth(hub, told)
        steps_taken.append(len(steps))
        assert is_empty(hub)
        assert asyncio.all_tasks() == before

    async def see_the_truth(hub, told):
        subscriptions = list(hub.subscriptions())
        decisions = await sync_to_async(evaluate)([one.pair for one in subscriptions])
        for one in subscriptions:
            frames = told[[user.pk for user in users].index(one.pair.viewer.user_key)]
            last = [frame for frame in frames if frame["meta"].get("id") == one.pair.hashid][-1]
            view = decisions[one.pair]
            assert last["meta"].get("etag") == one.etag == (view and view.etag)
            assert last["payload"] == (json.loads(view.body) if view else {"id": one.pair.hashid})

    @fuzz(examples=25)
    @given(st.lists(STEPS, min_size=15, max_size=50))
    def run(steps):
        runner(come_and_go(steps))

    run()
    assert sum(steps_taken) > 375


# Handshakes

HEADER = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60).map(
    lambda text: text.encode("latin1")
)
HEADER_NAMES = [b"host", b"accept-language", b"cookie", b"x-forwarded-host", b"content-type", b"content-length", b"x_y"]
SCOPES = st.fixed_dictionaries(
    {"headers": st.lists(st.tuples(st.sampled_from(HEADER_NAMES), HEADER), max_size=6)},
    optional={
        "subprotocols": st.lists(st.text(max_size=20), max_size=3),
        "query_string": HEADER,
        "server": st.none() | st.tuples(st.text(max_size=10), st.none() | st.integers(0, 2**16)),
        "scheme": st.sampled_from(["ws", "wss", "http", ""]),
    },
)


def test_however_a_client_introduces_itself_it_is_shown_what_a_visitor_is(demo, runner, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]

    async def introduce(scopes):
        async with connected() as connect:
            everybody = [await connect(None, **scope) for scope in scopes]
            for client in everybody:
                assert (await client.subscribe(demo.card, etag=""))["type"] == "SUBSCRIBED"
                frame = await client.receive()
                assert frame["payload"].keys() == {"id", "title", "status", "public", "owner"}

    @fuzz(examples=40)
    @given(st.lists(SCOPES, min_size=1, max_size=5))
    def run(scopes):
        runner(introduce(scopes))

    run()
