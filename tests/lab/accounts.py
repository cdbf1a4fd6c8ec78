"""Accounts: whether what is explained is what is decided, of everybody and everything as it is now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from livegate.gateway import publications
from livegate.gateway.audit.explanation import explain, viewer_of
from livegate.gateway.audit.trees import Tree
from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.permissions.answers import combined
from livegate.serializers.guards import guards_of

from .oracle import NAMES, PEOPLE, causes, find, fresh, is_there

if TYPE_CHECKING:
    from collections.abc import Iterator

    from livegate.gateway.audit.explanation import Explanation
    from livegate.permissions import Permission


class Accounts:
    """Each explanation says what ``evaluate`` decides, its tree and its guards say the same, and every answer in them
    is the one that this permission gives when nothing but it is asked.

    Of everybody about everything; once for each state of what that view depends on.
    """

    def __init__(self) -> None:
        self._seen: set[Any] = set()

    def review(self) -> None:
        cause = causes()
        viewers = {person: viewer_of(user) for person, user in fresh(PEOPLE).items()}
        for (label, hashid), thing in NAMES.items():
            publication = publications.find(label)
            assert publication
            states = {(thing, person, cause(person, thing)): person for person in PEOPLE}
            new = {person for state, person in states.items() if state not in self._seen}
            self._seen |= states.keys()
            if not new:
                continue
            pairs = [Pair(viewers[person], publication, hashid) for person in new]
            decisions = evaluate(pairs)
            instance = find(thing)
            for pair in pairs:
                review_one(explain(pair.viewer, label, hashid, timeout=0), decisions[pair], pair, instance)


def review_one(told: Explanation, view: Any, pair: Pair, instance: Any) -> None:
    whom = f"{told.model} for {told.name or 'nobody'}"
    assert told.decision == ("yes" if view else "no"), whom
    assert told.agrees, whom
    assert told.etag == (view.etag if view else ""), whom
    shown = json.loads(view.body).keys() if view else ()
    assert {name for name in told.fields if "." not in name} == set(shown), whom
    if instance is None or not is_there(pair.viewer.user):
        assert told.tree is None, whom
        return
    assert told.tree, whom
    assert (told.tree.answer == "yes") is (view is not None), whom
    alone: dict[str, str] = {}
    review_tree(told.tree, pair.publication.permission, pair, instance, alone)
    guards = guards_of(pair.publication.serializer)  # type: ignore[arg-type]
    for guarded in told.guarded:
        if isinstance(guarded.guard, Tree):
            assert guarded.is_shown is (guarded.name in shown), whom
            assert not view or guarded.is_shown is (guarded.guard.answer == "yes"), f"{whom}: {guarded.name}"
            review_tree(guarded.guard, guards.pop(guarded.name), pair, instance, alone)  # type: ignore[attr-defined]
    assert not guards, whom


def review_tree(tree: Tree, permission: Permission, pair: Pair, instance: Any, alone: dict[str, str]) -> None:
    """``alone`` keeps what each permission answered by itself, to be asked once for all trees of a pair."""
    answers = {leaf.permission: leaf.answer for leaf in leaves(tree)}
    asked = {repr(one): one for one in uncombined(permission)}
    for name in asked.keys() - alone.keys():
        alone[name] = "yes" if asked[name].allows(pair.viewer, instance) else "no"
    assert answers == {name: alone[name] for name in asked}, f"{tree.permission} for {pair.viewer.user}"


def leaves(tree: Tree) -> Iterator[Tree]:
    for part in tree.parts:
        yield from leaves(part)
    if not tree.parts:
        yield tree


def uncombined(permission: Permission) -> Iterator[Permission]:
    parts = combined(permission)
    for part in parts:
        yield from uncombined(part)
    if not parts:
        yield permission
