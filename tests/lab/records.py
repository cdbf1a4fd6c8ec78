"""Records: what the ledger has, beside what was handed to those who watched; both are told in the same words."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from livegate.gateway.audit import ledger
from livegate.gateway.audit.models import LedgerEntry

from .oracle import NAMES, PEOPLE, THINGS, fresh

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .screens import Screen


def compare(screens: Iterable[Screen]) -> int:
    """Ask the ledger about every thing, field and person; gives how many views were shown."""
    screens = list(screens)
    users = fresh(PEOPLE)
    names = {"" if user.pk is None else str(user.pk): person for person, user in users.items()}
    seen = Counter(seen_by(screens))

    for thing, (model, key, _) in THINGS.items():
        about = {one: times for one, times in seen.items() if one[1] == thing}
        assert Counter(on_record(ledger.who_saw(model(pk=key)), names)) == about
        fields = {field for _, _, fields, _ in about for field in fields}
        for field in fields:
            with_it = {one: times for one, times in about.items() if field in one[2]}
            assert Counter(on_record(ledger.who_saw(model(pk=key), field=field), names)) == with_it
        for field in fields_of(model) - fields:
            assert list(ledger.who_saw(model(pk=key), field=field)) == []
    for person, user in users.items():
        about = {one: times for one, times in seen.items() if one[0] == person}
        assert Counter(on_record(ledger.what_was_shown_to(user), names)) == about
        refused = Counter(thing_of(one) for one in ledger.refusals(user))
        assert refused == Counter(refused_to(screens, person)), person
    assert counted("taken") == Counter(gone_from(screens))
    assert counted("opened") == counted("closed") == Counter({"": len(screens)})
    return sum(seen.values())


def fields_of(model: Any) -> set[str]:
    return {"title", "notes", "salary"} if model._meta.model_name == "card" else {"text", "notes"}


def seen_by(screens: Iterable[Screen]) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Each view: who was shown it, of what, with which fields, and its ETag."""
    for screen, frame in frames_of(screens):
        if frame["type"].startswith("UPDATE"):
            thing = NAMES[frame["meta"]["model"], frame["meta"]["id"]]
            yield screen.person, thing, tuple(sorted(set(names_in(frame["payload"])))), frame["meta"]["etag"]


def gone_from(screens: Iterable[Screen]) -> Iterator[str]:
    for _, frame in frames_of(screens):
        if frame["type"].startswith("DELETE"):
            yield NAMES[frame["meta"]["model"], frame["meta"]["id"]]


def refused_to(screens: Iterable[Screen], person: str) -> Iterator[str]:
    for screen, frame in frames_of(screens):
        if frame["type"] == "ERROR" and screen.person == person:
            yield screen.asked[frame["meta"]["request_id"]]


def frames_of(screens: Iterable[Screen]) -> Iterator[tuple[Screen, Any]]:
    for screen in screens:
        for handed in screen.handed:
            if handed.message["type"] == "websocket.send":
                yield screen, json.loads(handed.message["text"])


def names_in(data: Any, within: str = "") -> Iterator[str]:
    for part in data if isinstance(data, list) else [data]:
        for name, value in part.items() if isinstance(part, dict) else ():
            yield f"{within}{name}"
            yield from names_in(value, f"{within}{name}.")


def on_record(
    showings: Iterable[ledger.Showing], names: dict[str, str]
) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    for showing in showings:
        yield names[showing.user], thing_of(showing), tuple(sorted(showing.fields)), showing.etag


def thing_of(one: Any) -> str:
    return NAMES[one.model, one.hashid]


def counted(kind: str) -> Counter[str]:
    """How many viewers the entries of a kind have, by what they are about."""
    found: Counter[str] = Counter()
    for entry in LedgerEntry.objects.filter(kind=kind):
        found[NAMES[entry.model, entry.hashid] if entry.model else ""] += len(entry.users)
    return found
