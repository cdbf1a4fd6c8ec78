"""Tracing: OpenTelemetry spans for the way of one change, where ``livegate[opentelemetry]`` is installed.

``livegate.post``, from the commit until it is on the channel layer; ``livegate.evaluate``, linked to the changes that
caused it, in whatever process; ``livegate.deliver``. They have models, hashids and numbers; no user, no value, no text
of an exception. Whatever a tracer raises harms neither a save nor the hub.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from .logs import warn, where

try:
    from opentelemetry import context, trace
    from opentelemetry.trace import SpanContext, SpanKind, StatusCode, TraceFlags
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
    from contextlib import AbstractContextManager

    from opentelemetry.trace import Span

    from .decisions import Pair
    from .notices import Bulletin, Notice
    from .subscriptions import Key

    # The traceparent of each post, with the places of its notices in the message.
    Traces = dict[str, list[int]]

Answer = TypeVar("Answer")

# Of one message, so many posts are traced at most; and the span of one names so many instances.
MOST_POSTS, MOST_NAMED = 32, 10
# Of so many objects, with so many pairs of each, it is known whether an evaluation followed a change, for so many
# seconds.
MOST_OBJECTS, MOST_PAIRS, LONGEST_CHANGE = 1_000, 10_000, 10
# W3C Trace Context, version 00.
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a notice comes from: the context of who posted it, and when, in nanoseconds since 1970."""

    context: Any
    at: int


class Heard:
    """The traced changes of an object that were heard of lately, numbered, and up to which of them each pair (by its
    ``id``) was evaluated."""

    def __init__(self) -> None:
        self.number = 0
        self.changes: deque[tuple[int, str, float]] = deque(maxlen=MOST_POSTS)  # with when it was heard
        self.evaluated: dict[int, int] = {}

    def add(self, traceparent: str) -> None:
        self.number += 1
        self.changes.append((self.number, traceparent, monotonic()))

    def take(self, pair: Pair, oldest: float) -> Iterator[str]:
        """Those for which a pair was not evaluated yet; it is now."""
        last = self.evaluated.get(id(pair), 0)
        if last < self.number:
            if len(self.evaluated) >= MOST_PAIRS:
                self.evaluated.clear()
            self.evaluated[id(pair)] = self.number
            for number, traceparent, heard in reversed(self.changes):
                if number <= last or heard < oldest:
                    break
                yield traceparent


_heard: OrderedDict[Key, Heard] = OrderedDict()
_lock = Lock()


def is_on() -> bool:
    """Whether anything is recorded: as long as nobody has set a tracer provider, OpenTelemetry has one that stands for
    it."""
    if IS_INSTALLED:
        with harmless():
            return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    return False


def origin() -> Origin | None:
    """Of what is posted here and now; None where nothing is traced."""
    if is_on():
        with harmless():
            return Origin(context.get_current(), time_ns())
    return None


def posting(group: str, notices: Mapping[Notice, Origin | None]) -> AbstractContextManager[Traces]:
    """Around the sending of a message: one span for each post of which notices are in it, from when they were posted.
    Gives what the message has to say of them, if they are recorded."""
    return _posting(group, notices) if any(notices.values()) else nullcontext({})


@contextmanager
def _posting(group: str, notices: Mapping[Notice, Origin | None]) -> Iterator[Traces]:
    posts: dict[Origin, list[int]] = {}
    told = [*notices]
    for number, (_, of) in enumerate(notices.items()):
        if of in posts or (of is not None and len(posts) < MOST_POSTS):
            posts.setdefault(of, []).append(number)
    spans = [start_post(of, group, [told[number] for number in numbers]) for of, numbers in posts.items()]
    traceparents = [traceparent_of(span) for span in spans]
    failed = None
    try:
        yield {parent: numbers for parent, numbers in zip(traceparents, posts.values(), strict=True) if parent}
    except BaseException as error:
        failed = error
        raise
    finally:
        for span in spans:
            end(span, failed)


def start_post(of: Origin, group: str, notices: list[Notice]) -> Span | None:
    with harmless():
        return trace.get_tracer("livegate").start_span(
            "livegate.post",
            context=of.context,
            kind=SpanKind.PRODUCER,
            start_time=of.at,
            attributes={
                "messaging.system": "livegate",
                "messaging.operation.name": "post",
                "messaging.operation.type": "send",
                "messaging.destination.name": group,
                "messaging.batch.message_count": len(notices),
                "livegate.models": sorted({notice.label for notice in notices}),
                "livegate.hashids": [notice.hashid for notice in notices[:MOST_NAMED]],
            },
        )
    return None


def hear(bulletin: Bulletin) -> None:
    """Remember which changes are traced, so that what is evaluated because of them is linked to them."""
    with harmless(), _lock:
        for traceparent, numbers in bulletin.traces.items():
            for number in numbers:
                notice = bulletin.notices[number]
                key = (notice.label, notice.hashid)
                _heard.setdefault(key, Heard()).add(traceparent)
                _heard.move_to_end(key)
                if len(_heard) > MOST_OBJECTS:
                    _heard.popitem(last=False)


class Way:
    """The way of one batch: it is evaluated, and delivered."""

    def __init__(self) -> None:
        self._evaluation: Span | None = None
        self.is_recorded = False

    def evaluating(self, evaluate: Callable[[list[Pair]], Answer]) -> Callable[[list[Pair]], Answer]:
        """The same, within a span: code of the application's that is traced, as the database may be, is so within it,
        too."""
        return (lambda pairs: self._evaluate(evaluate, pairs)) if is_on() else evaluate

    def _evaluate(self, evaluate: Callable[[list[Pair]], Answer], pairs: list[Pair]) -> Answer:
        self._evaluation = start_evaluation(pairs)
        self.is_recorded = traceparent_of(self._evaluation) is not None
        failed = None
        try:
            with current(self._evaluation):
                return evaluate(pairs)
        except BaseException as error:
            failed = error
            raise
        finally:
            end(self._evaluation, failed)

    def delivering(self, sockets: int, finish: Callable[[], Awaitable[None]]) -> Coroutine[Any, Any, None]:
        """To be run besides: a span from now on, until it is finished."""
        span = None
        with harmless():
            span = trace.get_tracer("livegate").start_span(
                "livegate.deliver",
                context=trace.set_span_in_context(self._evaluation) if self._evaluation else None,
                attributes={"livegate.sockets": sockets},
            )

        async def deliver() -> None:
            try:
                await finish()
            finally:
                end(span)

        return deliver()


def start_evaluation(pairs: list[Pair]) -> Span | None:
    with harmless():
        span = trace.get_tracer("livegate").start_span(
            "livegate.evaluate",
            context=context.Context(),
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "livegate",
                "messaging.operation.name": "evaluate",
                "messaging.operation.type": "process",
                "livegate.pairs": len(pairs),
            },
        )
        if span.is_recording():
            models = sorted({publication.label for publication in {pair.publication for pair in pairs}})
            span.set_attribute("livegate.models", models)
            for traceparent in causes(pairs):
                if of := context_of(traceparent):
                    span.add_link(of)
        return span
    return None


def causes(pairs: list[Pair]) -> list[str]:
    """The traced changes of which one of these pairs was not evaluated since they were heard."""
    found: dict[str, None] = {}
    with _lock:
        oldest = monotonic() - LONGEST_CHANGE
        for pair in pairs if _heard else ():
            if heard := _heard.get((pair.publication.label, pair.hashid)):
                found |= dict.fromkeys(heard.take(pair, oldest))
    return [*found]


def context_of(traceparent: str) -> SpanContext | None:
    """None for what is no traceparent."""
    match = TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def traceparent_of(span: Span | None) -> str | None:
    """None where it is not recorded."""
    with harmless():
        if span is not None and span.is_recording():
            of = span.get_span_context()
            return f"00-{of.trace_id:032x}-{of.span_id:016x}-{of.trace_flags:02x}"
    return None


@contextmanager
def current(span: Span | None) -> Iterator[None]:
    """Within it, the span is the one that others belong to."""
    token = None
    with harmless():
        if span is not None:
            token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        with harmless():
            if token is not None:
                context.detach(token)


def end(span: Span | None, failed: BaseException | None = None) -> None:
    with harmless():
        if span is not None and failed is not None:
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", type(failed).__qualname__)  # its text may quote an instance
    with harmless():
        if span is not None:
            span.end()


@contextmanager
def harmless() -> Iterator[None]:
    """What goes wrong within it is logged, once for each place, and nobody else's matter."""
    try:
        yield
    except Exception as error:
        tell_failed(where(error))


@lru_cache(maxsize=100)  # so that it is said once
def tell_failed(place: str) -> None:
    warn("tracing_failed", f"Something could not be traced ({place}).")
