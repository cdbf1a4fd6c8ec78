"""Texts: an explanation as a terminal shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .findings import REASONS
from .trees import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .changes import Change
    from .findings import Findings, GuardedField, Subscribed

MARKS = {"yes": "✓", "no": "✗", "unknown": "?", "undecided": "?"}
# What a terminal is told to paint it in.
COLORS = {"yes": "32", "no": "31", "unknown": "33", "undecided": "33"}

# How many changes are shown of those that were made, and of those that were heard of.
MOST_CHANGES = 5

# How a permission is written that is combined of those below it.
JOINED = {"all": "all of these", "any": "any of these", "not": "not this"}


def written(told: Findings, *, is_colored: bool) -> str:
    """The explanation, line by line."""
    paint = Paint(is_colored)
    whom = printable(told.name or told.user) if told.user else "who is not logged in"
    lines = [
        f"{printable(told.model)} {printable(told.hashid)} for {whom}, in {told.language} and {told.time_zone}",
        "",
    ]
    if not told.is_published:
        twice = "it is published twice, and so not at all" if told.is_published_twice else "nothing of it is pushed"
        return "\n".join([*lines, f"Published     {paint.mark('no')} no, {twice}"]) + "\n"
    lines.append(f"Published     {paint.mark('yes')} yes")
    lines += decision(told, paint)
    lines += view(told)
    for guarded in told.guarded:
        lines += guard(guarded, paint)
    lines += ["", *asked(told), *subscriptions(told), *last_shown(told), "", *changes(told)]
    return "\n".join(lines) + "\n"


class Paint:
    def __init__(self, is_colored: bool) -> None:
        self._is_colored = is_colored

    def mark(self, answer: str) -> str:
        return f"\033[{COLORS[answer]}m{MARKS[answer]}\033[0m" if self._is_colored else MARKS[answer]


def decision(told: Findings, paint: Paint) -> Iterator[str]:
    because = f", {told.basis}" if told.tree is None and told.basis else ""
    failed = told.basis.rpartition("; failed ")[2] if told.decision == "no" and "; failed " in told.basis else ""
    failure = f", though allowed: making the view failed {failed}" if failed else ""
    yield f"May see it    {paint.mark(told.decision)} {told.decision}{because}{failure}"
    if told.tree:
        yield from branches(told.tree, paint)
    if not told.agrees:
        yield "  What the permission answers now is not what the decision rests on: it answers now so and now so."


def branches(tree: Tree, paint: Paint, before: str = "  ", within: str = "  ") -> Iterator[str]:
    """A tree, with lines from each permission to those that it is combined of."""
    error = f" ({tree.error})" if tree.error else ""
    needed = "" if tree.is_needed else ", not needed"
    permission = JOINED[tree.joined] if tree.joined else printable(tree.permission)
    yield f"{before}{paint.mark(tree.answer)} {permission}: {tree.answer}{error}{needed}"
    for number, part in enumerate(tree.parts, start=1):
        is_last = number == len(tree.parts)
        yield from branches(part, paint, within + ("└─ " if is_last else "├─ "), within + ("   " if is_last else "│  "))


def view(told: Findings) -> Iterator[str]:
    if told.serializer:
        yield f"Serializer    {told.serializer}"
    if told.decision == "yes":
        yield f"Fields        {', '.join(map(printable, told.fields))}"
        yield f"ETag          {told.etag}"
        if told.personal:
            yield f"Made for      this user alone: {told.personal}"
        else:
            yield "Made for      all with the same answers, language, time zone and host"
        if told.shares_with:
            yield f"Shared with   {', '.join(printable(name or '(anonymous)') for name in told.shares_with)}"


def guard(guarded: GuardedField, paint: Paint) -> Iterator[str]:
    yield f"Guarded field {printable(guarded.name)}, {'shown' if guarded.is_shown else 'not shown'}"
    if isinstance(guarded.guard, Tree):
        yield from branches(guarded.guard, paint)
    else:
        yield f"  {printable(guarded.guard)}, asked of each that is nested"


def asked(told: Findings) -> Iterator[str]:
    """Whose subscriptions and changes these are."""
    if told.processes is None:
        yield "Asked         in this process only"
    else:
        yield f"Asked         all processes with sockets; answers: {len(told.processes)}"
    for one in told.unanswered:
        yield f"No answer     from {printable(str(one))}: what it has is missing here"


def subscriptions(told: Findings) -> Iterator[str]:
    if told.subscriptions is None:
        nobody = "this process has no sockets" if told.processes is None else "no process answers"
        yield f"Subscriptions unknown: {nobody}"
    elif not told.subscriptions:
        yield "Subscriptions none"
    for one in told.subscriptions or ():
        yield f"Subscription  {subscription(one)}"


def last_shown(told: Findings) -> Iterator[str]:
    if not told.is_ledger_read:
        yield "Last shown    unknown: the ledger can't be read"
    if told.last_shown is not None:
        fields = ", ".join(map(printable, told.last_shown.fields))
        yield f"Last shown    {told.last_shown.at:%Y-%m-%d %H:%M:%S}, {told.last_shown.etag}: {fields}"


def subscription(one: Subscribed) -> str:
    socket = f"socket {one.socket} ({place(one)})"
    if not one.is_admitted:
        return f"{socket}, to be decided"
    since = f" since {one.since:%Y-%m-%d %H:%M:%S}" if one.since else ""
    holds = f"holds {one.etag}" if one.etag else "holds nothing"
    return f"{socket}{since}, {holds}, {'current' if one.is_current else 'not current'}"


def place(one: Subscribed | Change) -> str:
    return f"{printable(one.host)}, process {one.pid}"


def changes(told: Findings) -> Iterator[str]:
    for change in last_of(told.changes):
        yield f"Change        {change.at:%Y-%m-%d %H:%M:%S} ({place(change)}) {fate(change)}"
    if not told.changes:
        yield "Changes       none is known"
    for reason in told.reasons:
        yield f"Nothing came? {REASONS[reason]}"


def last_of(changes: Iterable[Change]) -> list[Change]:
    """The last that were made, and the last that were heard of: each is heard of by all processes."""
    heard = [change for change in changes if change.fate == "heard"]
    made = [change for change in changes if change.fate != "heard"]
    return sorted([*made[-MOST_CHANGES:], *heard[-MOST_CHANGES:]], key=lambda change: change.at)


def fate(change: Change) -> str:
    if change.fate != "unwatched":
        return change.fate
    written = f"written: {', '.join(change.written)}; " if change.written else ""
    return f"no watched field changed ({written}watched: {', '.join(change.watched)})"


def printable(text: str) -> str:
    """A text without what a terminal would obey: some was given by others."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)
