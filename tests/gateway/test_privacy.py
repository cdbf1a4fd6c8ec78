"""Privacy: whatever happens, in whatever order, everybody is shown what a GET would have answered them, and no more."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import clients
import pytest
from board.serializers import CardSerializer
from channels.auth import AuthMiddlewareStack
from channels.layers import channel_layers
from channels.routing import URLRouter
from django.contrib.auth.models import AnonymousUser
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure, FlakyStrategyDefinition
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from lab.accounts import Accounts
from lab.dossiers import DossierSerializer, EntrySerializer, can_see
from lab.events import FIELDS
from lab.models import Document
from lab.oracle import PEOPLE, THINGS, fresh, get
from lab.records import compare
from lab.stage import Gate, Stage

from livegate.gateway import access, delivery, evaluator, publications
from livegate.gateway import evaluation as evaluation_module
from livegate.gateway import hub as hub_module
from livegate.gateway import sweep as sweep_module
from livegate.gateway.audit import explanation, trees
from livegate.gateway.audit.trees import Tree, Witness
from livegate.gateway.backlog import Backlog
from livegate.gateway.hub import Hub
from livegate.gateway.routing import websocket_urlpatterns
from livegate.gateway.subscriptions import Subscription
from livegate.permissions import Permission, anyone
from livegate.serializers.representation import Representation

NORMAL = settings(max_examples=20, stateful_step_count=15, print_blob=True)
# The first that fails will do. Of the mutation that is found last, it was the 4th to the 28th in 15 runs.
MUTATED = settings(NORMAL, max_examples=100, phases=[Phase.generate], database=None, report_multiple_bugs=False)
FEWER = settings(NORMAL, max_examples=8)
MOST_SCREENS = 5

people = st.sampled_from(PEOPLE)
things = st.sampled_from([*THINGS])
which = st.integers(0, 1)
numbers = st.integers(0, MOST_SCREENS - 1)
places = st.sampled_from(["before", "between", "after"])
# Where rights are taken away during an evaluation, and whether it is told. Most is at stake between the two reads.
takings = st.sampled_from([*[("between", False)] * 2, ("between", True), ("after", True), ("behind", True)])
is_told = st.sampled_from([True, True, False])


def event(name: str, *given: Any) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(name), *given)


written = things.flatmap(lambda thing: event("write", st.just(thing), st.sampled_from(FIELDS[thing])))
contents = st.one_of(
    written,
    event("write_in_bulk"),
    event("mail", people),
    event("remove", things),
    event("hand_over", things, people),
    event("move", things),
    event("disclose", things),
)
rights = st.one_of(
    event("grant", things, which, people),
    event("grant_group", things, which),
    event("regroup", people),
    event("allow", people),
    event("allow_group"),
    event("employ", people, st.sampled_from(["Northwind", "Southgate"])),
    event("strip", people),
    event("equip", people),
    event("promote", people),
)
whatever = contents | rights | event("activate", people)


class Machine(RuleBasedStateMachine):
    """What is required at every step stands in ``Stage.settle`` and ``Screen.review``:

    - Every frame is what a GET would have answered at one moment after the frame before it, and before it was sent;
      after a change of rights was heard, at a moment after that.
    - When all has settled, every subscriber holds what a GET answers, or nothing where it answers nothing.
    - No value reaches who had no right to it while it was there, as far back as the frame may have been made.
    - No frame says what its receiver holds already: so a hidden change makes none.
    - Who has to go is closed with 4401, and sent nothing more; and nobody else is.

    And in ``Accounts.review``: in every state, what is explained of everybody and everything is what is decided.
    """

    gate: Gate
    accounts: Accounts | None = None

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(self.gate)

    def teardown(self) -> None:
        self.stage.end()

    def pick(self, number: int) -> Any:
        return self.stage.screens[number % len(self.stage.screens)]

    def has_screens(self) -> bool:
        return bool(self.stage.screens)

    @initialize(
        who=st.lists(people, min_size=3, max_size=4, unique=True),
        number=numbers,
        thing=things,
        how=takings,
        returns=st.sampled_from(["", "changed", "stripped"]),
        goes=st.booleans(),
    )
    def begin(self, who: list[str], number: int, thing: str, how: tuple[str, bool], returns: str, goes: bool) -> None:
        for person in who:
            self.come(person)
        self.take_away(number, thing, how)
        if returns:
            self.reconnect(number + 1, [("write_in_bulk",)], is_stripped=returns == "stripped")
        if goes:
            self.log_out(who[0])

    @invariant()
    def explain(self) -> None:
        if self.accounts is not None:
            self.accounts.review()

    # People come and go

    @precondition(lambda self: len(self.stage.screens) < MOST_SCREENS)
    @rule(person=people)
    def come(self, person: str) -> None:
        self.stage.watch(person)
        self.stage.settle()

    @rule(person=people)
    def log_out(self, person: str) -> None:
        self.stage.log_out(person)
        self.stage.settle()

    @precondition(has_screens)
    @rule(
        number=numbers,
        thing=things,
        how=st.sampled_from(["anew", "known", "fetched", "blind", "leave"]),
        meanwhile=st.none() | contents | rights,
    )
    def ask(self, number: int, thing: str, how: str, meanwhile: Any) -> None:
        screen = self.pick(number)
        if not screen.reading.is_set():
            return
        if how == "leave":
            self.stage.ask(screen, "unsubscribe", thing)
        elif how == "blind":
            self.stage.ask(screen, "subscribe", thing)
        elif how == "fetched":
            self.fetch(screen, thing, meanwhile)
        else:
            self.stage.ask(screen, "subscribe", thing, etag=screen.etags.get(thing) if how == "known" else None)
        self.stage.settle()

    def fetch(self, screen: Any, thing: str, meanwhile: Any) -> None:
        """GET it, and go on from there on the socket."""
        view, etag = get(fresh([screen.person])[screen.person], thing)
        if meanwhile is not None:
            self.tell(meanwhile)
        if screen in self.stage.screens:
            screen.hold(thing, view, etag)
            self.stage.ask(screen, "subscribe", thing, etag=etag)

    @precondition(has_screens)
    @rule(number=numbers, meanwhile=st.lists(whatever, max_size=2), is_stripped=st.booleans())
    def reconnect(self, number: int, meanwhile: list[Any], is_stripped: bool) -> None:
        """The same person comes back with what they have seen."""
        old = self.pick(number)
        self.stage.close(old)
        for one in [*meanwhile, *([("strip", old.person)] if is_stripped else [])]:
            self.stage.happen(*one)
        if screen := self.stage.connect(old.person):
            for thing, view in old.held.items():
                screen.hold(thing, view, old.etags.get(thing))
                self.stage.ask(screen, "subscribe", thing, etag=old.etags.get(thing))
        self.stage.settle()

    @precondition(has_screens)
    @rule(number=numbers)
    def stall(self, number: int) -> None:
        """A client reads nothing for a while."""
        self.pick(number).reading.clear()

    @rule()
    def read(self) -> None:
        for screen in self.stage.screens:
            screen.reading.set()
        self.stage.settle()

    # Things happen

    @rule(one=whatever)
    def tell(self, one: Any) -> None:
        self.stage.happen(*one)
        self.stage.settle()

    @rule(one=whatever, is_swept=st.booleans())
    def lose(self, one: Any, is_swept: bool) -> None:
        self.stage.happen_untold(*one)
        self.stage.settle()
        if is_swept:
            self.stage.sweep()

    @rule()
    def sweep(self) -> None:
        self.stage.sweep()

    @rule(place=places, first=contents, then=st.lists(st.tuples(whatever, is_told), min_size=1, max_size=3))
    def happen_together(self, place: str, first: Any, then: list[Any]) -> None:
        """An evaluation takes so long that other things happen meanwhile."""
        self.stage.happen_during(place, *first)
        for one, told in then:
            (self.stage.happen if told else self.stage.happen_untold)(*one)
        self.stage.gate.open()
        self.stage.settle()

    @precondition(has_screens)
    @rule(number=numbers, thing=things, how=takings)
    def take_away(self, number: int, thing: str, how: tuple[str, bool]) -> None:
        """While somebody's view of a thing is made, or waits behind another that they don't read, their rights are
        taken away, and then all is changed."""
        screen, (place, told) = self.pick(number), how
        self.tell(("equip", screen.person))
        if screen not in self.stage.screens or not screen.reading.is_set():
            return
        for missing in THINGS.keys() - screen.held.keys():
            self.stage.ask(screen, "subscribe", missing, etag=None)
        self.stage.settle()
        if place == "behind":
            screen.reading.clear()
            self.stage.happen("write_in_bulk")
            self.stage.settle()
        else:
            self.stage.happen_during(place, "write", thing, *FIELDS[thing])
        (self.stage.happen if told else self.stage.happen_untold)("strip", screen.person)
        self.stage.happen("write", thing, *FIELDS[thing])
        self.stage.gate.open()
        screen.reading.set()
        self.stage.settle()


@pytest.fixture
def machine(monkeypatch, settings, republish, transactional_db, caplog):
    caplog.set_level("ERROR", "django.request")  # that most things are not found is what a GET answers
    republish(Document, DossierSerializer, to=can_see, queryset=Document.objects.prefetch_related("notes"))
    settings.LIVEGATE = {**settings.LIVEGATE, "SWEEP_RATE": 1_000_000_000}
    gate = Gate()
    monkeypatch.setattr(channel_layers, "backends", {})
    monkeypatch.setattr(clients, "application", AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
    monkeypatch.setattr(delivery, "VIEW_LIFETIME", 1_000.0)  # nothing depends on how long a step takes
    monkeypatch.setattr(evaluator, "evaluate", gate.around(evaluator.evaluate))
    for read in ("fetch", "renew"):
        monkeypatch.setattr(evaluation_module, read, gate.between(getattr(evaluation_module, read)))
    return type("Machine", (Machine,), {"gate": gate})


def test_nothing_leaks(machine, caplog):
    machine.accounts = Accounts()

    run_state_machine_as_test(machine, settings=NORMAL)

    assert [record for record in caplog.records if record.name.startswith("livegate")] == []


@pytest.mark.parametrize("level", ["strict", "showings"])
def test_the_ledger_has_exactly_what_was_shown_and_taken_away(machine, settings, level, caplog):
    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER": level, "LEDGER_INTERVAL": 0}
    shown = []

    class Recorded(machine):
        def teardown(self):
            super().teardown()
            shown.append(compare(self.stage.all_screens))

    run_state_machine_as_test(Recorded, settings=FEWER)

    assert sum(shown) > 50
    assert [record for record in caplog.records if record.name.startswith("livegate")] == []


# Mutations: each takes away something that privacy rests on.


def drop_a_guard(monkeypatch):
    """A field that is guarded is shown to all who see the rest."""
    monkeypatch.delitem(CardSerializer.Meta.guards, "salary")


def drop_a_nested_guard(monkeypatch):
    """The same, of what is shown within something else."""
    monkeypatch.setattr(EntrySerializer.Meta, "guards", {})


def drop_the_permission(monkeypatch):
    """Who may see an instance at all is not asked."""
    for publication in map(publications.find, ("board.Card", "lab.Document")):
        monkeypatch.setitem(publication.__dict__, "permission", anyone)


def share_with_all(monkeypatch):
    """What was made for one audience is sent to all."""

    class Shared(Representation):
        def __init__(self, serializer, inquiry, viewers):
            super().__init__(serializer, inquiry, viewers)
            self.bodies = [(body, viewers) for body, _ in self.bodies[:1]]

    monkeypatch.setattr(evaluation_module, "Representation", Shared)


def share_the_decision(monkeypatch):
    """If one of the viewers may see an instance, all may."""

    def allowing(permission):
        class Allowing(Permission):
            reads, reads_of_user, asks_for = permission.reads, permission.reads_of_user, permission.asks_for

            def allows(self, viewer, instance):
                return permission.allows(viewer, instance)

            def among(self, viewers, inquiry):
                return viewers if permission.among(viewers, inquiry) else set()

        return Allowing()

    for publication in map(publications.find, ("board.Card", "lab.Document")):
        monkeypatch.setitem(publication.__dict__, "permission", allowing(publication.permission))


def read_rights_before_content(monkeypatch):
    """And each in a transaction of its own."""

    @contextmanager
    def none(databases):
        yield True

    def look(pairs, watched, crowd, wanted, grounds):
        rights = evaluation_module.renew(crowd, wanted)
        instances = evaluation_module.fetch(wanted)
        return evaluation_module.show(pairs, watched, instances, rights, grounds)

    monkeypatch.setattr(evaluation_module, "snapshot", none)
    monkeypatch.setattr(evaluation_module, "look", look)


def keep_rights(monkeypatch):
    """The rights of an earlier evaluation are used again. Each pair for itself: which are evaluated together differs
    from run to run."""
    decide, renew, kept = evaluation_module.decide, evaluation_module.renew, {}

    def decide_each(pairs, grounds):
        return {pair: view for one in pairs for pair, view in decide((one,), grounds).items()}

    def stale(viewers, wanted):
        [loop] = hub_module._hubs
        asked = loop, frozenset(viewers), str(wanted)
        if asked not in kept:
            kept[asked] = renew(viewers, wanted)
        return kept[asked]

    monkeypatch.setattr(evaluation_module, "decide_together", decide_each)
    monkeypatch.setattr(evaluation_module, "renew", stale)


def send_what_is_outdated(monkeypatch):
    """What was made before rights changed is sent all the same."""
    mark = Backlog.mark
    monkeypatch.setattr(Backlog, "mark", lambda backlog, one, cause, is_outdated=False: mark(backlog, one, cause))


def close_nobody(monkeypatch):
    """Who has to go stays connected."""
    monkeypatch.setattr(Hub, "expel", lambda hub, socket, code=4401: None)


def remember_who_was_refused(monkeypatch):
    """A subscription that was refused stays."""
    take_away = Subscription._take_away

    def remember(subscription, requests):
        frames = take_away(subscription, requests)
        subscription.admitted = True
        return frames

    monkeypatch.setattr(Subscription, "_take_away", remember)


def only_refuse_who_comes_back(monkeypatch):
    """Who holds what they may not see any more is not told to drop it."""
    take_away = Subscription._take_away

    def refuse(subscription, requests):
        return take_away(subscription, [replace(request, etag=None) for request in requests])

    monkeypatch.setattr(Subscription, "_take_away", refuse)


def believe_who_comes_back(monkeypatch):
    """What a client says that it holds is not compared with what there is."""
    settle = Subscription.settle

    def believe(subscription, decision):
        if decision is not None:
            subscription.requests = [
                replace(request, etag=decision.etag) if request.etag else request for request in subscription.requests
            ]
        return settle(subscription, decision)

    monkeypatch.setattr(Subscription, "settle", believe)


def sweep_nothing(monkeypatch):
    """What no notice told is never noticed."""

    async def nothing(hub):
        return None

    monkeypatch.setattr(sweep_module, "sweep", nothing)


def send_what_is_unchanged(monkeypatch):
    """Every evaluation makes a frame."""
    settle = Subscription.settle

    def always(subscription, decision):
        if decision is not None and not subscription.requests:
            subscription.etag = None
        return settle(subscription, decision)

    monkeypatch.setattr(Subscription, "settle", always)


def hear_nothing_of_rights(monkeypatch):
    """No notice tells of changed rights."""
    monkeypatch.setattr(access, "post_after_commit", lambda notices, using: None)


def send_what_was_given_up(monkeypatch):
    """Who has unsubscribed is told of changes all the same."""
    monkeypatch.setattr(Hub, "forget", lambda hub, subscription: None)


MUTATIONS = [
    drop_a_guard,
    drop_a_nested_guard,
    drop_the_permission,
    share_with_all,
    share_the_decision,
    read_rights_before_content,
    keep_rights,
    send_what_is_outdated,
    close_nobody,
    remember_who_was_refused,
    only_refuse_who_comes_back,
    believe_who_comes_back,
    sweep_nothing,
    send_what_is_unchanged,
    hear_nothing_of_rights,
    send_what_was_given_up,
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_each_mutation_is_found(machine, monkeypatch, mutation):
    mutation(monkeypatch)

    with pytest.raises((AssertionError, FlakyFailure)):  # flaky is what fails in one run of the same example
        while True:
            try:
                run_state_machine_as_test(machine, settings=MUTATED)
            except FlakyStrategyDefinition:  # what could be done next hung on how quick something was: nothing was said
                continue
            break


# And each of these makes an explanation say something else than what is decided.


def explain_with_old_rights(monkeypatch):
    """The rights that are asked beside the decision are those of an earlier explanation."""
    renew, kept = trees.renew, {}

    def stale(viewers, wanted):
        asked = *viewers, str(wanted)
        if asked not in kept:
            kept[asked] = renew(viewers, wanted)
        return kept[asked]

    monkeypatch.setattr(trees, "renew", stale)


def explain_only_what_was_needed(monkeypatch):
    """What the decision did without is taken for a no."""
    leaf = Witness._leaf

    def lazy(witness, note, is_needed):
        if witness._pair.viewer not in note.asked:
            return Tree(repr(note.question), "no", "", is_needed=False)
        return leaf(witness, note, is_needed)

    monkeypatch.setattr(Witness, "_leaf", lazy)


def explain_with_the_wrong_sign(monkeypatch):
    """All parts have to say yes, also where one of them would do."""

    def all_of_them(permission, parts):
        return "yes" if all(part.answer == "yes" for part in parts) else "no", ""

    monkeypatch.setattr(trees, "combine", all_of_them)


def explain_what_another_sees(monkeypatch):
    """The view is that of somebody who is anonymous."""
    look = explanation.evaluate

    def of_nobody(pairs, grounds):
        nobody = [replace(pair, viewer=replace(pair.viewer, user=AnonymousUser())) for pair in pairs]
        made = look(nobody, grounds)
        grounds.rest(pairs, grounds._grounds[nobody[0]])
        return {pair: made[other] for pair, other in zip(pairs, nobody, strict=True)}

    monkeypatch.setattr(explanation, "evaluate", of_nobody)


def explain_by_the_permission_of_another(monkeypatch):
    """The guards are asked of the publication's permission."""
    tree = Witness.tree
    monkeypatch.setattr(Witness, "tree", lambda witness, guard: tree(witness, witness._pair.publication.permission))


MISTAKES = [
    explain_with_old_rights,
    explain_only_what_was_needed,
    explain_with_the_wrong_sign,
    explain_what_another_sees,
    explain_by_the_permission_of_another,
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_each_wrong_explanation_is_found(machine, monkeypatch, mistake):
    machine.accounts = Accounts()
    mistake(monkeypatch)

    with pytest.raises((AssertionError, FlakyFailure)) as found:
        run_state_machine_as_test(machine, settings=MUTATED)

    assert "lab/accounts.py" in "".join(traceback.format_exception(found.value))
