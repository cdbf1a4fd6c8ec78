"""The explanation: what one user sees of one object now, and why; what not; and why nothing arrived.

The decision is that of ``evaluate``. Names of fields, permissions and classes are in an explanation, and no value of a
field, nor the text of an error.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, connections
from django.db.models import Model
from rest_framework.serializers import BaseSerializer, ListSerializer

from ...permissions.answers import name_of
from ...permissions.viewers import Viewer
from ...serializers.guards import PerUserSerializerMixin, guards_of
from ...serializers.hashids import encode
from ...serializers.names import example, fields_in
from ..canary import is_trusted
from ..decisions import Pair, fields_of
from ..evaluation import evaluate
from ..grounds import Grounds
from ..notifications import key_in
from ..primary import from_primary
from ..publications import all_publications, find
from ..snapshots import snapshot
from .findings import Findings, GuardedField, Shown, Subscribed
from .records import last_shown, records_of
from .texts import written
from .trees import Witness, databases_of, savepoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ...permissions.rules import Permission
    from ..decisions import View
    from .findings import Reason
    from .records import Holding

# How far serializers within serializers are looked into: one may be within itself.
DEEPEST = 5


@dataclass(frozen=True)
class Explanation(Findings):
    """What a user sees of an object now, and why: see Findings."""

    def as_text(self, *, is_colored: bool = False) -> str:
        """For a terminal; with its colour codes only if told so."""
        return written(self, is_colored=is_colored)


def explain(
    user: Any, instance: Model | str, hashid: str = "", *, among: Iterable[Viewer] = (), timeout: float = 5.0
) -> Explanation:
    """What this user sees of an instance now, what not, and why.

    ``user`` is a user, None for one who is anonymous, or a Viewer: one who looks in a language and a time zone of their
    own. In the place of the instance, its model's label and its hashid will do: ``explain(user, "board.Card",
    "7sd8f")``. ``among`` are viewers of whom it is told whether they are shown the very same bytes.

    All processes are asked for the user's subscriptions and for what became of the last changes, and waited for, but
    not longer than ``timeout`` seconds. With ``timeout=0``, and inside of a transaction, it is what this process has.

    All is read in one snapshot, with the rights read anew; a statement of the application's that the database refuses
    may have it read twice. Inside of a transaction it is not decided then, and the transaction goes on. Raises
    TypeError for what is no instance and no label, ValueError for an instance that was never saved.
    """
    viewer = user if isinstance(user, Viewer) else viewer_of(user)
    if isinstance(instance, Model):
        label, hashid = instance._meta.label, hashid_of(instance)
    elif isinstance(instance, str):
        label = instance
    else:
        raise TypeError(f"explain() takes an instance or a model's label, not {type(instance).__name__}.")
    told = Explanation(
        label,
        hashid,
        "" if viewer.identity is None else str(viewer.identity[1]),
        name_of_user(viewer),
        viewer.language,
        viewer.time_zone,
    )
    publication = find(label)
    if publication is None:
        twice = any(one.label == label for one in all_publications())
        return replace(told, is_published_twice=twice, reasons=("not published",))
    records = records_of(viewer, label, hashid, timeout)
    told = replace(
        told,
        is_published=True,
        processes=records.processes,
        unanswered=records.unanswered,
        changes=records.changes,
    )
    told = examined(told, Pair(viewer, publication, hashid), list(among), records.holdings)
    try:
        shown = last_shown(viewer, publication, hashid)
    except DatabaseError:
        told = replace(told, is_ledger_read=False)
    else:
        if shown is not None:
            told = replace(told, last_shown=Shown(shown.at, shown.etag, shown.fields, shown.cause))
    return replace(told, reasons=tuple(reasons_of(told)))


def viewer_of(user: Any) -> Viewer:
    """A user who looks from nowhere: in the language and the time zone of the settings."""
    return Viewer(user or AnonymousUser(), settings.LANGUAGE_CODE, settings.TIME_ZONE, "http", "")


def hashid_of(instance: Model) -> str:
    if instance.pk is None:
        raise ValueError(f"explain() was given a {type(instance).__name__} that was never saved.")
    publication = find(instance._meta.label)
    return encode(publication.model, key_in(publication.model, instance)) if publication else ""


# Looking


@from_primary()
def examined(told: Explanation, pair: Pair, among: list[Viewer], holdings: list[Holding] | None) -> Explanation:
    """What there is to see, with all trees, in one snapshot."""
    grounds, databases = Grounds(), databases_of(pair.publication)
    others = {
        one: Pair(one, pair.publication, pair.hashid)
        for one in [*among, *(holding.viewer for holding in holdings or ())]
    }
    pairs = [pair, *others.values()]
    decisions: dict[Pair, View | None] = {}
    with suppress(Exception), snapshot(databases):
        with savepoints(databases):
            decisions = evaluate(pairs, grounds)
        told = testified(told, pair, decisions.get(pair))
    is_within = any(connections[alias].in_atomic_block for alias in databases)
    if pair not in decisions and not is_within:  # a statement that was refused spoils a snapshot not evaluate's own
        with suppress(Exception):
            decisions = evaluate(pairs, grounds)
        with suppress(Exception), snapshot(databases):
            told = testified(told, pair, decisions.get(pair))
    if pair not in decisions:
        return replace(told, decision="undecided", subscriptions=subscribed(holdings, others, decisions))
    view = decisions[pair]
    return replace(
        told,
        decision="yes" if view else "no",
        basis=grounds.basis(pair),
        agrees=told.tree is None or (told.tree.answer == "yes") is (view is not None or bool(grounds.failure(pair))),
        fields=fields_of(view) if view else (),
        etag=view.etag if view else "",
        shares_with=tuple(
            name_of_user(one)
            for one in dict.fromkeys(among)
            if view and one != pair.viewer and decisions.get(others[one]) is view
        ),
        subscriptions=subscribed(holdings, others, decisions),
    )


def testified(told: Explanation, pair: Pair, view: View | None) -> Explanation:
    """What is asked beside the decision."""
    witness = Witness(pair)
    if not witness.can_tell:
        return told
    serializer = view.serializer if view else witness.serializer()
    personal = ""
    if view and serializer:
        trusted = is_trusted(pair.publication)
        personal = witness.personal(serializer) if trusted else "what its serializer made was once not what a GET shows"
    return replace(
        told,
        tree=witness.tree(pair.publication.permission),
        serializer=f"{serializer.__module__}.{serializer.__qualname__}" if serializer else "",
        guarded=tuple(guarded_fields(serializer, fields_of(view) if view else (), witness)) if serializer else (),
        personal=personal,
    )


def guarded_fields(serializer: Any, shown: tuple[str, ...], witness: Witness) -> Iterator[GuardedField]:
    for name, guard in guards_in(serializer).items():
        yield GuardedField(name, name in shown, witness.tree(guard))
    for name, guard in nested_guards(example(serializer)):
        yield GuardedField(name, name in shown, name_of(guard))


def guards_in(serializer: type[Any]) -> Mapping[str, Permission]:
    return guards_of(serializer) if issubclass(serializer, PerUserSerializerMixin) else {}


def nested_guards(serializer: Any, within: str = "", depth: int = 0) -> Iterator[tuple[str, Permission]]:
    """The guards of the serializers that are fields of one, by their paths."""
    for name, field in fields_in(serializer).items() if depth < DEEPEST else ():
        nested = field.child if isinstance(field, ListSerializer) else field
        if isinstance(nested, BaseSerializer):
            yield from ((f"{within}{name}.{one}", guard) for one, guard in guards_in(type(nested)).items())
            yield from nested_guards(nested, f"{within}{name}.", depth + 1)


def subscribed(
    holdings: list[Holding] | None, pairs: Mapping[Viewer, Pair], decisions: Mapping[Pair, View | None]
) -> tuple[Subscribed, ...] | None:
    """The subscriptions, each compared with what its own viewer would be shown now."""
    if holdings is None:
        return None
    views = {holding.viewer: decisions.get(pairs[holding.viewer]) for holding in holdings}
    return tuple(
        Subscribed(
            holding.socket,
            holding.host,
            holding.pid,
            holding.is_admitted,
            holding.since,
            holding.verified,
            holding.etag,
            (view.etag if (view := views[holding.viewer]) else None) == holding.etag,
        )
        for holding in holdings
    )


def name_of_user(viewer: Viewer) -> str:
    return "" if viewer.identity is None else str(viewer.user.get_username())


# Why nothing arrived

# What became of changes of which nobody was told.
UNTOLD: dict[str, Reason] = {"unwatched": "unwatched", "rolled back": "rolled back", "waiting": "waiting"}


def reasons_of(told: Explanation) -> Iterator[Reason]:
    """Why nothing may have arrived for the last change: all that apply."""
    last = {change.fate == "heard": change for change in told.changes}
    made, heard = last.get(False), last.get(True)
    could_hear = told.subscriptions is not None and told.processes != ()
    if made is not None and made.fate in UNTOLD:
        yield UNTOLD[made.fate]
    elif could_hear and (heard is None or (made is not None and heard.at < made.at)):
        yield "nothing heard"
    if told.unanswered:
        yield "no answer"
    admitted = [one for one in told.subscriptions or () if one.is_admitted]
    if told.subscriptions is not None and not admitted:
        yield "not subscribed"
    if told.decision == "no":
        yield "hidden"
    if told.decision == "undecided":
        yield "undecided"
    if told.decision == "yes" and admitted and all(one.is_current for one in admitted):
        yield "unchanged"
