"""Tracing: the way of one change can be followed over all processes, and nothing of it harms or tells anybody."""

from __future__ import annotations

import importlib.util
import json
import sys
from threading import RLock
from time import monotonic
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from board.models import Card
from clients import all_is_sent, message_of, until
from guardian.shortcuts import remove_perm
from opentelemetry import context, trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from livegate.gateway import streams, tracing
from livegate.gateway.entries import SWEEP
from livegate.gateway.hub import _hubs
from livegate.gateway.notices import Bulletin, Notice, Stamp, pack
from livegate.gateway.streams import Stream
from livegate.gateway.tracing import Way, hear

SECRET = "of nobody else's business"


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    tracing._heard.clear()
    tracing.tell_failed.cache_clear()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", trace.Once())


@pytest.fixture
def provide():
    """Has spans made, as an application does that sets OpenTelemetry up."""

    def provided(processor, **options):
        provider = TracerProvider(**options)
        provider.add_span_processor(processor)
        trace.set_tracer_provider(provider)
        return trace.get_tracer("the application")

    return provided


@pytest.fixture
def spans(provide):
    """The finished spans, by name."""
    exporter = InMemorySpanExporter()
    tracer = provide(SimpleSpanProcessor(exporter))

    def named(name):
        return [span for span in exporter.get_finished_spans() if span.name == name]

    named.tracer, named.all = tracer, exporter.get_finished_spans
    return named


@pytest.fixture
def wire(monkeypatch):
    """The messages that are sent to the channel layer, but for those that carry no notice."""
    sent = []
    send = streams.send

    async def noted(group, bulletin):
        sent.append(pack(bulletin))
        await send(group, bulletin)

    monkeypatch.setattr(streams, "send", noted)
    return sent


async def rename(card, title="renamed"):
    card.title = title
    await sync_to_async(card.save)()


def name_of(span):
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


async def test_a_change_is_followed_from_the_request_that_made_it_to_those_who_are_shown_it(demo, connect, spans, wire):
    client, other = await connect(demo.amira), await connect(demo.ben)
    await client.subscribe(demo.card)
    await other.subscribe(demo.card)

    with spans.tracer.start_as_current_span("request") as request:
        await rename(demo.card)
    await client.receive()
    await other.receive()
    await until(lambda: len(spans("livegate.deliver")) == len(spans("livegate.evaluate")))

    [post] = spans("livegate.post")
    [evaluation] = [span for span in spans("livegate.evaluate") if span.links]
    [delivery] = [one for one in spans("livegate.deliver") if one.parent.span_id == evaluation.context.span_id]
    assert post.parent.span_id == request.get_span_context().span_id
    assert [link.context.span_id for link in evaluation.links] == [post.context.span_id]
    assert evaluation.parent is None
    assert post.start_time <= post.end_time <= evaluation.start_time <= delivery.start_time <= delivery.end_time
    assert [span.kind for span in (post, evaluation)] == [SpanKind.PRODUCER, SpanKind.CONSUMER]
    assert [message["traces"] for message in wire] == [{name_of(post): [0]}]
    assert dict(post.attributes) == {
        "messaging.system": "livegate",
        "messaging.operation.name": "post",
        "messaging.operation.type": "send",
        "messaging.destination.name": "livegate.group.0.notices",
        "messaging.batch.message_count": 1,
        "livegate.models": ("board.Card",),
        "livegate.hashids": (demo.card.hashid,),
    }
    assert dict(evaluation.attributes) == {
        "messaging.system": "livegate",
        "messaging.operation.name": "evaluate",
        "messaging.operation.type": "process",
        "livegate.pairs": 2,
        "livegate.models": ("board.Card",),
    }
    assert dict(delivery.attributes) == {"livegate.sockets": 2}


async def test_what_nobody_changed_is_evaluated_for_no_change(demo, connect, spans):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await rename(demo.card)
    await client.receive()
    [hub] = _hubs.values()

    hub.look_again(hub.subscriptions(), SWEEP)
    await until(lambda: len(spans("livegate.evaluate")) > 2)

    assert [len(span.links) for span in spans("livegate.evaluate") if span.links] == [1]


async def test_no_span_names_a_user_or_has_a_value(demo, connect, spans, wire):
    client = await connect(demo.cleo)
    await client.subscribe(demo.card)
    await sync_to_async(Card.objects.update)(public=False)

    await rename(demo.card, SECRET)
    await client.receive()
    await sync_to_async(remove_perm)("board.view_card", demo.cleo, demo.card)
    await client.receive()
    await until(lambda: len(spans("livegate.post")) >= 2)

    told = "".join(span.to_json() for span in spans.all()) + json.dumps(wire)
    assert SECRET not in told
    assert demo.cleo.username not in told
    attributes = {name for span in spans.all() for name in span.attributes}
    assert {name for name in attributes if "user" in name or "token" in name} == set()


async def test_what_the_application_traces_while_it_is_asked_belongs_to_the_evaluation(spans):
    def evaluate(pairs):
        with spans.tracer.start_as_current_span("query"):
            return {}

    way = Way()
    with spans.tracer.start_as_current_span("of somebody else"):
        way.evaluating(evaluate)([])

    [query], [evaluation] = spans("query"), spans("livegate.evaluate")
    assert query.parent.span_id == evaluation.context.span_id
    assert evaluation.parent is None
    assert way.is_recorded


def test_an_error_while_it_is_evaluated_is_told_by_its_kind_alone(spans):
    def evaluate(pairs):
        raise LookupError(SECRET)

    with pytest.raises(LookupError):
        Way().evaluating(evaluate)([])

    [evaluation] = spans("livegate.evaluate")
    assert evaluation.status.status_code is StatusCode.ERROR
    assert evaluation.attributes["error.type"] == "LookupError"
    assert SECRET not in evaluation.to_json()


class Layer:
    """A channel layer that can be away."""

    def __init__(self):
        self.away, self.sent, self.meanwhile = False, [], lambda: None

    async def group_send(self, group, message):
        self.meanwhile()
        if self.away:
            raise ConnectionError(SECRET)
        self.sent.append(message)


@pytest.fixture
def stream(layer):
    layer = layer(Layer())
    return Stream("a stream", "a-group", RLock()), layer


async def test_a_post_that_fails_is_a_span_that_failed_and_goes_on_from_where_it_began(spans, stream):
    stream, layer = stream
    layer.away = True
    begun = tracing.origin()
    stream.add(Notice("update", "board.Card", "1"), begun)
    layer.meanwhile = lambda: stream.add(Notice("update", "board.Card", "1"), tracing.origin())

    with pytest.raises(ConnectionError):
        await stream.send_next()
    layer.meanwhile()
    layer.away, layer.meanwhile = False, lambda: None
    await stream.send_next()

    failed, sent = spans("livegate.post")
    assert failed.attributes["error.type"] == "ConnectionError"
    assert SECRET not in failed.to_json()
    assert sent.status.status_code is StatusCode.UNSET
    assert failed.start_time == sent.start_time == begun.at
    assert [message["traces"] for message in layer.sent] == [{name_of(sent): [0]}]


async def test_notices_of_several_posts_in_one_message_are_told_apart(spans, stream):
    stream, layer = stream
    notices = [Notice("update", "board.Card", str(number)) for number in range(40)]
    for number, notice in enumerate(notices):
        with spans.tracer.start_as_current_span(f"request {number}"):
            here = tracing.origin()
        stream.add(notice, here)
        stream.add(Notice("update", "board.Card", f"{number} too"), here)

    await stream.send_next()

    [message] = layer.sent
    posts = spans("livegate.post")
    assert len(posts) == tracing.MOST_POSTS
    assert message["traces"] == {name_of(post): [2 * at, 2 * at + 1] for at, post in enumerate(posts)}
    assert [post.attributes["livegate.hashids"] for post in posts[:2]] == [("0", "0 too"), ("1", "1 too")]


async def test_a_change_is_the_cause_of_the_first_evaluation_of_each_pair_only_and_not_for_long(spans, monkeypatch):
    first, second, of_another = (
        SimpleNamespace(publication=SimpleNamespace(label="board.Card"), hashid=hashid) for hashid in ("1", "1", "2")
    )
    parent = "00-" + 32 * "a" + "-" + 16 * "b" + "-01"
    hear(Bulletin([Notice("update", "board.Card", "1")], Stamp("x", 1, 0), traces={parent: [0]}))

    assert tracing.causes([of_another]) == []
    assert tracing.causes([first, of_another]) == [parent]
    assert tracing.causes([first]) == []
    assert tracing.causes([first, second]) == [parent]
    hear(Bulletin([Notice("update", "board.Card", "1")], Stamp("x", 2, 1), traces={parent: [0]}))
    monkeypatch.setattr(tracing, "monotonic", lambda: monotonic() + tracing.LONGEST_CHANGE + 1)
    assert tracing.causes([first]) == []


def test_it_is_not_remembered_of_more_objects_and_pairs_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(tracing, "MOST_OBJECTS", 2)
    monkeypatch.setattr(tracing, "MOST_PAIRS", 2)
    publication = SimpleNamespace(label="board.Card")
    pairs = [SimpleNamespace(publication=publication, hashid="3") for _ in range(3)]
    parent = "00-" + 32 * "a" + "-" + 16 * "b" + "-01"
    for hashid in ("1", "2", "3"):
        hear(Bulletin([Notice("update", "board.Card", hashid)], Stamp("x", 1, 0), traces={parent: [0]}))

    assert [hashid for _, hashid in tracing._heard] == ["2", "3"]
    assert tracing.causes(pairs) == [parent]
    assert len(tracing._heard["board.Card", "3"].evaluated) == 1


async def test_what_is_not_sampled_does_not_cross_the_channel_layer(demo, connect, provide, wire, monkeypatch):
    provide(SimpleSpanProcessor(InMemorySpanExporter()), sampler=ALWAYS_OFF)
    monkeypatch.setattr(Way, "delivering", None)
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await rename(demo.card)
    await client.receive()

    assert [message.keys() for message in wire] == [{"type", "notices", "stamp", "echo"}]


async def test_without_a_provider_nothing_crosses_the_channel_layer(demo, connect, wire):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await rename(demo.card)
    await client.receive()

    assert [message.keys() for message in wire] == [{"type", "notices", "stamp", "echo"}]
    assert tracing.origin() is None
    assert Way().evaluating(len) is len


def test_a_provider_that_can_not_be_had_is_none(monkeypatch):
    def fail():
        raise RuntimeError("no such provider")

    monkeypatch.setattr(trace, "get_tracer_provider", fail)

    assert tracing.origin() is None
    assert Way().evaluating(len) is len


async def test_without_the_package_all_goes_on_and_what_others_traced_is_heard(demo, connect, wire, monkeypatch):
    monkeypatch.setattr(tracing, "IS_INSTALLED", False)
    for name in ("context", "trace"):
        monkeypatch.delattr(tracing, name)
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await rename(demo.card)
    assert (await client.receive())["payload"]["title"] == "renamed"

    assert [message.keys() for message in wire] == [{"type", "notices", "stamp", "echo"}]
    assert tracing.origin() is None
    assert Way().evaluating(len) is len


def test_the_module_can_be_had_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    spec = importlib.util.spec_from_file_location("livegate.gateway.tracing_anew", tracing.__file__)
    anew = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, anew)

    spec.loader.exec_module(anew)

    assert not anew.IS_INSTALLED


@pytest.mark.parametrize(
    "traces",
    [
        {"no traceparent": [0]},
        {"00-" + 32 * "g" + "-" + 16 * "b" + "-01": [0]},
        {"00-" + 32 * "a" + "-" + 16 * "b" + "-01": [7]},
        {"00-" + 32 * "a" + "-" + 16 * "b" + "-01": "everything"},
        {7: None},
    ],
)
async def test_what_is_no_trace_is_linked_to_nothing_and_the_notice_is_heard(demo, connect, spans, traces):
    client = await connect(demo.amira)
    await client.subscribe(demo.card)
    await sync_to_async(Card.objects.update)(title="without a word")

    message = message_of(Notice("update", "board.Card", demo.card.hashid))
    await streams.get_channel_layer().group_send("livegate.group.0.notices", {**message, "traces": traces})
    assert (await client.receive())["payload"]["title"] == "without a word"

    assert len(spans("livegate.evaluate")) >= 2
    assert not any(span.links for span in spans("livegate.evaluate"))


class BrokenExporter(SpanExporter):
    def export(self, spans):
        raise RuntimeError(SECRET)


class BrokenAtStart(SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise RuntimeError(SECRET)


class BrokenAtEnd(SpanProcessor):
    def on_end(self, span):
        raise RuntimeError(SECRET)


@pytest.mark.parametrize(
    ("processor", "is_ours"),
    [(SimpleSpanProcessor(BrokenExporter()), False), (BrokenAtStart(), True), (BrokenAtEnd(), True)],
)
async def test_a_broken_exporter_or_processor_harms_neither_a_save_nor_the_hub(
    demo, connect, provide, processor, is_ours, caplog
):
    provide(processor)
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    for title in ("one", "two"):
        await rename(demo.card, title)
        assert (await client.receive())["payload"]["title"] == title
    await until(all_is_sent)

    told = [record for record in caplog.records if getattr(record, "event", "") == "tracing_failed"]
    assert bool(told) == is_ours
    assert len({record.getMessage() for record in told}) == len(told)  # each place once
    assert SECRET not in "".join(record.getMessage() for record in told)
    assert not [record for record in caplog.records if getattr(record, "event", "tracing_failed") != "tracing_failed"]


class BrokenProvider(trace.TracerProvider):
    def get_tracer(self, *args, **options):
        raise RuntimeError(SECRET)


async def test_a_broken_tracer_harms_neither_a_save_nor_the_hub(demo, connect, monkeypatch):
    trace.set_tracer_provider(BrokenProvider())
    monkeypatch.setattr(context, "attach", None)
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await rename(demo.card)

    assert (await client.receive())["payload"]["title"] == "renamed"
    await Way().delivering(1, finished)


async def test_a_context_that_can_not_be_had_harms_no_save(demo, connect, monkeypatch):
    monkeypatch.setattr(tracing.context, "get_current", None)
    client = await connect(demo.amira)
    await client.subscribe(demo.card)

    await rename(demo.card)

    assert (await client.receive())["payload"]["title"] == "renamed"


async def finished():
    pass
