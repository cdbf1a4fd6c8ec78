"""The benchmark measures what it says: every workload works, what is wrong is noticed, ratios are right."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from random import Random
from types import SimpleNamespace

import pytest
import servers

from bench import rights, site
from bench.__main__ import main, take
from bench.arena import Child, Invalid, arena, cores, ground
from bench.contestants import CONTESTANTS
from bench.fan_out import in_blocks
from bench.faults import OF_OTHERS, OF_POSTGRESQL, OF_REDIS, faults_on, shuffled
from bench.figures import Ratio, Results, Round, as_json, ratios
from bench.ledger import compare as compare_ledger
from bench.ledger import place as open_at
from bench.paths import PATHS
from bench.plan import Plan, Turn
from bench.refusals import probability_later, standard_error
from bench.report import place_of, report
from bench.serving import gather_viewers, serve_all
from bench.site import Site
from bench.soak import compare, leaked
from bench.verification import Expected, answers_among, faults_of, judged
from bench.workloads import ALONE, BESIDE, WORKLOADS, Sizes, measure
from livegate.gateway import frames

TINY = Sizes(
    fan_out=(3, 5),
    blocks=2,
    events=1,
    spread=4,
    spread_rate=100,
    spread_window=2,
    spread_seconds=0.05,
    burst=3,
    saves=3,
    storm=5,
    idle=3,
    idle_seconds=0.01,
    sizing=(3, 5),
    sizing_seconds=0.01,
    sweep_period=0.5,
    soak_seconds=0.5,
    soak_warm_up=0.1,
    soak_sockets=16,
    soak_sockets_beside=4,
    soak_cards=4,
    soak_subscriptions=2,
    soak_rate=50,
    soak_pauses=(0.0, 0.05),
    soak_faults=(0.05, 0.3),
    soak_away=(0.05, 0.3),
    soak_stall=(0.05, 0.3),
    seed=1,
    resync_few=2,
    resync_many=6,
    resync_cards=3,
    resync_away=0.1,
    refusals=10,
    ledger_sockets=5,
    ledger_blocks=2,
    ledger_events=2,
    ledger_rest=0.01,
    ledger_rows=2_000,
    ledger_times=2,
    grants_rows=100,
    grants_times=2,
)
CROWD = 80  # so many that there are enough who see nothing guarded, for every path others


@pytest.fixture(scope="module")
def place():
    with cores() as core, servers.redis() as url, ground("sqlite", url, core, viewers=24, cards=4) as populated:
        yield populated


@pytest.fixture(scope="module")
def process(place):
    with arena(CONTESTANTS["livegate-3"], place) as started:
        yield started


@pytest.fixture
def opened(process):
    """The arena of livegate, without a socket."""
    yield process
    process.clients.do("close")


@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_contestant_shows_every_viewer_theirs_and_only_that(place, name):
    with arena(CONTESTANTS[name], place) as started:
        [figures] = measure("fan-out", [started], TINY)

    assert figures.keys() == {"3", "5"}
    assert figures["5"]["latency_ms"] > 0
    assert figures["5"]["cpu_us_per_message"] > 0
    if name == "naive":
        # Everyone's user and card; the rights of those who are neither the owner nor the superuser, in two queries.
        assert figures["5"]["queries"] == 5 * 2 + 3 * 2
        assert figures["5"]["serializations"] == 5


def test_those_beside_each_other_hear_of_their_own_saves_only(place):
    beside = [CONTESTANTS[name] for name in ("livegate-1", "floor", "livegate-3")]

    rounds = take(Turn("fan-out", 2, beside, "sqlite", TINY), place)

    assert [(one.contestant, one.number, one.fault) for one in rounds] == [
        ("livegate-1", 2, ""),
        ("floor", 2, ""),
        ("livegate-3", 2, ""),
    ]
    assert [one.figures["5"]["queries"] for one in rounds] == [3, 0, 3]


def test_what_comes_after_the_last_event_of_one_is_noticed(place, monkeypatch):
    monkeypatch.setattr("bench.fan_out.count_event", lambda arena: arena.writer.do("save", card=0) and {})

    [floor] = take(Turn("fan-out", 1, [CONTESTANTS["floor"]], "sqlite", replace(TINY, fan_out=(3,))), place)

    assert "received 1 messages instead of 0" in floor.fault


def test_turns_alternate_and_end_when_their_time_has_come(monkeypatch):
    saved = []

    def serve(arena):
        saved.append(arena.name)
        return {"latency": 0.1 if arena.name == "quick" else 0.7, "busy": 0}

    monkeypatch.setattr("bench.fan_out.serve_all", serve)
    counters = {"cpu": 0, "queries": 0}
    quick, slow = (
        SimpleNamespace(name=name, counters=lambda: counters, writer=SimpleNamespace(do=str))
        for name in ("quick", "slow")
    )

    events = in_blocks([quick, slow], Sizes(blocks=3, events=2, seconds_per_size=2.0))

    assert saved == [*3 * ["quick"], *3 * ["slow"], *2 * ["slow"], *6 * ["quick"]]  # each block begins with one more
    assert [len(of_one) for of_one in events] == [6, 3]


def test_what_is_wrong_with_one_counts_for_none_beside_them(place, monkeypatch):
    def fail(arenas, sizes):
        raise Invalid("amira received nothing")

    monkeypatch.setitem(BESIDE, "fan-out", fail)
    beside = [CONTESTANTS[name] for name in ("floor", "classic")]

    rounds = take(Turn("fan-out", 1, beside, "sqlite", TINY), place)

    assert [(one.contestant, one.fault) for one in rounds] == [
        ("floor", "amira received nothing"),
        ("classic", "amira received nothing"),
    ]


@pytest.mark.parametrize("workload", ["spread", "burst", "storm", "idle", "sizing", "ledger-questions", "grants"])
def test_every_workload_gives_its_figures(opened, workload):
    figures = ALONE[workload](opened, TINY)

    assert figures
    assert all(figures.values())


@pytest.fixture(scope="module")
def crowded(place):
    with ground("sqlite", place.environment["REDIS_URL"], place.server_core, viewers=CROWD, cards=0) as populated:
        yield populated


def test_a_right_is_gone_by_every_path_whatever_the_broker_does(crowded, monkeypatch):
    monkeypatch.setattr("bench.revocation.STALL", 0.3)
    with arena(CONTESTANTS["livegate-3"], crowded) as started:
        figures = ALONE["revocation"](started, replace(TINY, revocations=2, revocation_sockets=CROWD))
        gather_viewers(started, range(CROWD))  # who may see it again, for what comes after

    by_path = {case.partition(",")[0] for case in figures}
    assert by_path == {*PATHS, "all"}
    assert {case.partition(", ")[2] for case in figures} >= {"broker up", "broker down", "process stalled"}
    assert all(found["samples"] >= 2 for found in figures.values())
    assert all(0 <= found["p50_ms"] <= found["p99_ms"] <= found["max_ms"] + 1e-6 for found in figures.values())
    assert all(found["max_ms"] > 0 for case, found in figures.items() if not case.startswith("logged out"))
    assert figures["all, unheard"]["max_by_bound"] > 0


def test_a_restart_of_redis_costs_the_same_whatever_the_number_of_sockets_and_objects(place, monkeypatch):
    monkeypatch.setattr("bench.resync.QUIET", 0.4)
    with arena(CONTESTANTS["livegate-3"], place) as started:
        figures = ALONE["resync"](started, TINY)

    assert [(found["sockets"], found["objects"]) for found in figures.values()] == [(2, 1), (6, 1), (6, 3)]
    # Of one evaluation and one examination, or of two, where the notice that was kept comes when they are over.
    assert all(4 <= found["queries"] <= 8 for found in figures.values())
    assert all(found["current_ms"] > 0 and found["told_ms"] > 0 for found in figures.values())
    assert all(found["frames_per_socket"] == 3 for found in figures.values())


def test_a_change_that_did_not_arrive_after_a_restart_of_redis_makes_the_round_invalid(place, monkeypatch):
    do = Child.do

    def do_less(child, name, **arguments):
        """A version that was never saved is said to be."""
        reply = do(child, name, **arguments)
        return {**reply, "version": reply["version"] + 1} if name == "save" else reply

    monkeypatch.setattr("bench.resync.PATIENCE", 5)
    monkeypatch.setattr("bench.resync.QUIET", 0.4)
    monkeypatch.setattr(Child, "do", do_less)
    with arena(CONTESTANTS["livegate-3"], place) as started, pytest.raises(Invalid, match="2 clients are not current"):
        ALONE["resync"](started, TINY)


def test_refusals_are_timed_of_what_is_hidden_and_of_what_never_existed(place):
    with arena(CONTESTANTS["livegate-3"], place) as started:
        figures = ALONE["refusals"](started, TINY)

    assert list(figures) == ["on the beat", "beside what is shown", "at once"]
    on_a_beat = [figures["on the beat"], figures["beside what is shown"]]
    assert min(found[name] for found in on_a_beat for name in ("hidden_from_ms", "never_from_ms")) >= 50
    assert 0 < figures["at once"]["never_ms"] < figures["on the beat"]["never_ms"]
    assert all(0 <= found["hidden_later"] <= 1 for found in figures.values())


def test_a_view_that_follows_an_answer_is_no_answer_to_what_is_asked_next():
    refusal = frames.refused("not_found", 1).encode()
    received = [(0.01, b'{"type":"UPDATE_CARD","payload":{},"meta":{"etag":"0"}}'), (0.05, refusal)]

    assert answers_among(received) == [(0.05, refusal)]


def test_who_is_not_refused_makes_the_round_invalid(place, monkeypatch):
    monkeypatch.setattr("bench.refusals.TAKEN", "without a signal")  # which takes something else
    with arena(CONTESTANTS["livegate-3"], place) as started, pytest.raises(Invalid, match="hidden was not refused"):
        ALONE["refusals"](started, TINY)


def test_each_level_of_the_ledger_is_measured_and_what_was_shown_is_on_record(place):
    with arena(CONTESTANTS["livegate-3"], place) as started:
        figures = ALONE["ledger"](started, TINY)

    assert list(figures) == ["off", "subscriptions", "showings", "strict"]
    assert all(found["latency_ms"] > 0 and found["cpu_us_per_message"] > 0 for found in figures.values())
    assert (figures["off"]["by_off"], figures["off"]["cpu_by_off"]) == (1, 1)
    assert figures["strict"]["by_off"] > 0


ADA, LINUS = ["ada", "x"], ["linus", "y"]


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"shown": [ADA, ADA, LINUS]}, ""),
        ({"shown": [ADA, ADA, LINUS, LINUS], "withheld": [LINUS]}, ""),
        ({"shown": [ADA, LINUS]}, "of 3 frames, 1 are not on record; 0 are which"),
        ({"shown": [ADA, ADA, LINUS, LINUS]}, "of 3 frames, 0 are not on record; 1 are which"),
        ({"shown": [ADA, ADA, ["ada", "y"]]}, "of 3 frames, 1 are not on record; 1 are which"),
        ({"shown": [ADA, ADA, LINUS], "withheld": [ADA]}, "of 3 frames, 1 are not on record; 0 are which"),
        ({}, "of 3 frames, 3 are not on record"),
        ({"shown": [ADA, ADA, LINUS], "admitted": [ADA] * 6}, "6 times somebody was admitted"),
    ],
)
def test_a_ledger_that_says_anything_else_than_what_was_shown_makes_the_round_invalid(monkeypatch, entries, told):
    monkeypatch.setattr("bench.ledger.PATIENCE", 0)
    entries = {"admitted": [["ada", ""], ["linus", ""]] * 3, **entries}
    shown = {"off": [["ada", "z"]], "subscriptions": [], "showings": [ADA], "strict": [ADA, LINUS]}
    opened = {level: standing_for("clients", tell_shown=frames) for level, frames in shown.items()}

    with pytest.raises(Invalid, match=told) if told else nullcontext():
        compare_ledger(opened, standing_for("writer", read_ledger=entries), 2)


def standing_for(child, **replies):
    """An arena of which there is only one process, which gives these replies."""
    return SimpleNamespace(**{child: SimpleNamespace(do=lambda name: replies[name])})


def test_what_is_on_record_without_being_asked_for_makes_the_round_invalid(place, monkeypatch):
    monkeypatch.setattr("bench.ledger.PATIENCE", 2)
    monkeypatch.setattr("bench.ledger.place", lambda outer, level: open_at(outer, "showings"))
    told = "of 50 frames, 0 are not on record; 50 are which were not sent; 20 times"
    with arena(CONTESTANTS["livegate-3"], place) as started, pytest.raises(Invalid, match=told):
        ALONE["ledger"](started, TINY)


@pytest.mark.parametrize(
    ("some", "others", "probability"),
    [([1, 2], [1, 2], 0.5), ([3, 4], [1, 2], 1), ([1, 2], [3, 4], 0), ([1, 3], [2, 2], 0.5), ([2, 3], [1, 3], 0.625)],
)
def test_how_probable_it_is_that_one_takes_longer_is_the_share_of_pairs(some, others, probability):
    assert probability_later(some, others) == probability


def test_the_more_are_asked_the_more_is_known():
    assert standard_error(0.5, 300, 300) == pytest.approx(0.0236, abs=1e-4)  # as of ranks, by Mann and Whitney
    assert standard_error(0.5, 1_200, 1_200) == pytest.approx(0.0236 / 2, abs=1e-4)
    assert standard_error(0.9, 300, 300) < standard_error(0.5, 300, 300)


def test_whatever_is_broken_at_random_everybody_holds_the_truth_afterwards(place):
    with arena(CONTESTANTS["livegate-3"], place) as started:
        figures = ALONE["soak"](started, TINY)

    faults, changes, clients, kept = (figures[case] for case in ("faults", "changes", "clients", "kept"))
    assert faults.keys() == {*OF_REDIS, *OF_OTHERS, "all", "seed"}
    assert min(faults.values()) >= 1
    assert (faults["seed"], clients["sockets"], clients["views"]) == (1, 20, 40)
    assert changes["saves"] > 0
    assert changes["slowest_ms"] >= changes["p50_ms"] > 0
    assert (changes["failed"], clients["stale"], clients["forbidden"], clients["late"]) == (0, 0, 0, 0)
    assert kept["sockets_before"] == kept["sockets_after"] == 16
    assert kept["subscriptions_after"] > 0
    assert (kept["sockets_unknown"], kept["subscriptions_unknown"]) == (0, 0)
    assert (kept["sockets_left"], kept["subscriptions_left"]) == (0, 0)
    assert kept["objects_before"] > 16 * 50
    assert figures["memory"]["last_third_by_middle"] > 0


def test_postgresql_is_broken_too_where_it_is_there():
    kinds = {*OF_REDIS, *OF_OTHERS, *OF_POSTGRESQL}

    assert faults_on(SimpleNamespace(ground=SimpleNamespace(postgresql=None))).keys() == kinds - {*OF_POSTGRESQL}
    assert faults_on(SimpleNamespace(ground=SimpleNamespace(postgresql=object()))).keys() == kinds
    order = list(islice(shuffled([*kinds], Random(1)), 3 * len(kinds)))
    assert all(order.count(kind) == 3 for kind in kinds)


def test_a_change_that_nobody_is_told_of_makes_a_soak_invalid(place, monkeypatch):
    start = site.child

    def start_deaf(module, environment, descriptors):
        """The scribe's notices go nowhere."""
        elsewhere = {"REDIS_URL": "redis://127.0.0.1:1"} if module == "scribe" else {}
        return start(module, {**environment, **elsewhere}, descriptors)

    monkeypatch.setattr(site, "child", start_deaf)
    monkeypatch.setattr("bench.soak.LIMIT", 1)
    monkeypatch.setattr("bench.soak.faults_on", lambda site: {"clients_slow": OF_OTHERS["clients_slow"]})
    with arena(CONTESTANTS["livegate-3"], place) as started, pytest.raises(Invalid, match=r"\d+ stale"):
        ALONE["soak"](started, TINY)


HELD = {"changed": 12.0, "settled": True, "views": {"x": ["a view", 3, "subscribed"], "y": [None, 0, "refused"]}}


@pytest.mark.parametrize(
    ("changes", "right", "wrong"),
    [
        ({}, ("a view", None), {}),
        ({}, ("another", None), {"stale": 1}),
        ({}, (None, None), {"stale": 1, "forbidden": 1}),
        ({}, ("a view", "a view"), {"stale": 1}),
        ({"settled": False}, ("a view", None), {"stale": 1}),
        ({"changed": 41.0}, ("a view", None), {"late": 1}),
    ],
)
def test_what_clients_hold_at_the_end_is_compared_with_the_truth(changes, right, wrong):
    found = compare({"7": {**HELD, **changes}}, {("7", "x"): right[0], ("7", "y"): right[1]}, 10.0)

    lists = {"stale": found.stale, "forbidden": found.forbidden, "late": found.late}
    assert {name: len(some) for name, some in lists.items() if some} == wrong
    assert found.seconds == changes.get("changed", 12.0) - 10
    assert found.views == 2


@pytest.mark.parametrize(
    ("shown", "leaks"),
    [
        (("0b0110", "0b0010"), []),
        (("0b1110", "0b0010"), ["the card of version 3 of x: to 1 viewers"]),
        (("0b0110", "0b0110"), ["the salary of version 3 of x: to 1 viewers"]),
    ],
)
def test_whatever_was_shown_to_who_had_no_right_to_it_is_found(shown, leaks):
    masks = [hex(int(mask, 2)) for mask in shown]
    allowed = [["x", 3, hex(0b0111), hex(0b0011)], ["x", 4, hex(0b1111), hex(0b1111)]]

    assert leaked([["x", 3, *masks]], allowed) == leaks
    assert leaked([["x", 5, *masks]], allowed)  # which nobody wrote


def test_only_what_the_faults_explain_may_be_logged(tmp_path):
    lines = [
        "livegate hub_failed: The hub can't hear the channel layer; it tries again.",
        "livegate notices_unsent: 3 notices can't be sent",
        "livegate register_failed: A process can't say that it is there, or who is; it tries again.",
        "livegate hub_failed: A part of the hub has failed; it begins again.",
        "livegate notices_lost: 3 notices were not sent",
        "asyncio -: Task exception was never retrieved",
    ]
    (tmp_path / "gateway0.log").write_text("".join(f"LOGGED {line}\nTraceback\n" for line in lines))

    assert Site.unexpected(SimpleNamespace(folder=tmp_path)) == lines[3:]


CLOSED, NO_FIELD, GONE = 9.0, b'{"type":"UPDATE_CARD","payload":{"version": 7}}', b'{"type":"DELETE_CARD"}'
SHOWN = b'{"type":"UPDATE_CARD","payload":{"version": %d, "salary": 1}}'


@pytest.mark.parametrize(
    ("leaves", "received", "closed_at", "seconds", "fault"),
    [
        ("field", [(4, SHOWN % 7), (6, SHOWN % 7), (8, NO_FIELD)], None, 3, ""),
        ("field", [(8, NO_FIELD)], CLOSED, 3, ""),
        ("object", [(6, NO_FIELD), (8, GONE)], None, 3, ""),
        ("socket", [(6, NO_FIELD)], CLOSED, 4, ""),
        ("session", [], 4.0, 0, ""),
        ("session", [(6, SHOWN % 8)], CLOSED, 4, ""),
        ("session", [(6, SHOWN % 8)], None, 0, "never noticed"),
        ("field", [(6, SHOWN % 7)], None, 0, "never noticed"),
        ("object", [], None, 0, "never noticed"),
        ("socket", [(8, GONE)], None, 0, "never noticed"),
        ("field", [(6, SHOWN % 8), (8, NO_FIELD)], None, 0, "a leak"),
        ("object", [(6, SHOWN % 8), (8, GONE)], None, 0, "a leak"),
        ("socket", [(6, SHOWN % 8)], CLOSED, 0, "a leak"),
        ("field", [(8, NO_FIELD), (9, SHOWN % 7)], None, 0, "again"),
        ("object", [(8, GONE), (9, NO_FIELD)], None, 0, "again"),
    ],
)
def test_what_comes_after_a_right_was_taken_is_judged(leaves, received, closed_at, seconds, fault):
    latency, found = judged(received, closed_at, leaves, b'"salary"', 5.0, 7)

    assert latency == seconds
    assert bool(found) == bool(fault)
    assert fault in found


def test_who_keeps_what_was_taken_makes_the_round_invalid(crowded, monkeypatch):
    monkeypatch.setitem(PATHS, "grant removed", replace(PATHS["grant removed"], leaves="object"))
    sizes = replace(TINY, revocations=2, revocation_sockets=CROWD)
    with arena(CONTESTANTS["livegate-3"], crowded) as started, pytest.raises(Invalid, match="a leak"):
        ALONE["revocation"](started, sizes)


def test_a_message_that_is_missing_makes_the_round_invalid(opened, monkeypatch):
    monkeypatch.setattr("bench.serving.EVENT_PATIENCE", 1)
    gather_viewers(opened, range(3))
    opened.open([3], [0], subscribe=False)

    with pytest.raises(Invalid, match="viewer3 received 0 messages instead of 1"):
        serve_all(opened)


def test_a_message_for_somebody_else_makes_the_round_invalid(opened, monkeypatch):
    seen = rights.seen
    monkeypatch.setattr(rights, "seen", lambda shows, viewer, card: seen(shows, 0 if viewer == 2 else viewer, card))
    gather_viewers(opened, range(3))

    with pytest.raises(Invalid, match=r"viewer2 received fields .*\['notes', 'salary'\]"):
        serve_all(opened)


def test_a_message_too_many_makes_the_round_invalid(opened):
    gather_viewers(opened, range(3))
    opened.writer.do("save", card=0)
    opened.clients.do("gather", patience=60, per_client=1)

    with pytest.raises(Invalid, match=r"2 messages instead of 1|other values"):
        serve_all(opened)


def test_a_refused_subscription_makes_the_round_invalid(opened):
    with pytest.raises(Invalid, match="viewer5 could not subscribe"):
        opened.open([5], [1])


EXPECTED = Expected("payload", frozenset(["id", "version", "salary", "notes"]), ("salary",), ("notes",), {"id": "x"})


def text(**changes):
    payload = {"id": "x", "version": 7, "salary": rights.value("salary", 7), "notes": None, **changes}
    return json.dumps({"payload": payload}).encode()


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        ([text()], ""),
        ([], "0 messages instead of 1"),
        ([text(), text()], "2 messages instead of 1"),
        ([text(more=1)], "fields that differ"),
        ([text(version=6)], "other values"),
        ([text(id="y")], "other values"),
        ([text(salary=rights.value("salary", 6))], "other values"),
        ([text(notes="Notes")], "other values"),
        ([b"{"], "no message with a payload"),
        ([b'{"payload": 1}'], "no object"),
        ([b'{"type": "DELETE_CARD"}'], "no message with a payload"),
    ],
)
def test_every_fault_of_a_message_is_found(texts, fault):
    found = faults_of("amira", EXPECTED, texts, [7])

    assert bool(found) == bool(fault)
    assert fault in "".join(found)


def test_as_many_views_differ_as_there_are_viewers():
    views = {tuple(rights.seen("distinct", viewer, 0)["held"]) for viewer in range(5_000)}

    assert len(views) == 5_000


def test_three_audiences_are_three():
    assert {rights.guarded_seen(viewer, 0) for viewer in range(10)} == {(), ("salary",), ("salary", "notes")}


def test_everyone_has_their_turn_in_every_round():
    turns = list(Plan(["fan-out", "storm"], 2, Sizes()).turns())

    order = [(turn.workload, turn.number) for turn in turns]
    assert list(dict.fromkeys(order)) == sorted(set(order))
    assert {name for turn in turns for name in names_of(turn)} == set(CONTESTANTS)
    assert all(len(turn.contestants) == 1 for turn in turns if turn.workload == "storm")
    # Those who take minutes come last, and each for themselves.
    quick = [name for name, contestant in CONTESTANTS.items() if not contestant.asks]
    slow = [[name] for name, contestant in CONTESTANTS.items() if contestant.asks]
    first = [names_of(turn) for turn in turns if (turn.workload, turn.number) == ("fan-out", 1)]
    assert first == [quick, quick, *slow, *slow]
    second = [(turn.database, names_of(turn)) for turn in turns if (turn.workload, turn.number) == ("fan-out", 2)]
    assert second == [("sqlite", quick), ("postgresql", quick), *(("sqlite", one) for one in slow)]
    assert [names_of(turn) for turn in turns if 5_000 in turn.sizes.fan_out and turn.workload == "fan-out"] == [quick]


def names_of(turn):
    return [contestant.name for contestant in turn.contestants]


def test_what_hardly_varies_has_one_round():
    turns = list(Plan(["sizing"], 3, Sizes()).turns())

    assert [(turn.number, names_of(turn)) for turn in turns] == [(1, ["livegate-3"])]


def test_a_soak_breaks_postgresql_unless_told_otherwise_and_has_one_round():
    assert [(turn.number, turn.database) for turn in Plan(["soak"], 3, Sizes()).turns()] == [(1, "postgresql")]
    assert [turn.database for turn in Plan(["soak"], 1, Sizes(), ["sqlite"]).turns()] == ["sqlite"]
    assert [turn.database for turn in Plan(["storm", "soak"], 1, Sizes(), contestants=["livegate-3"]).turns()] == [
        "sqlite",
        "postgresql",
    ]


def test_a_run_that_is_told_nothing_does_everything_but_the_soak(monkeypatch):
    asked = []
    monkeypatch.setattr("bench.__main__.run", lambda plan, keep_connections: asked.append(plan) or Results())

    main([])
    main(["soak", "--seconds", "7", "--seed", "5"])

    assert [*asked[0].workloads] == [name for name in WORKLOADS if name != "soak"]
    assert (asked[1].workloads, asked[1].sizes.soak_seconds, asked[1].sizes.seed) == (["soak"], 7, 5)


def test_what_is_asked_for_is_what_is_done():
    plan = Plan(["spread"], 1, Sizes(), ["postgresql"], ["naive", "livegate-distinct"], [2_000])

    turns = [(names_of(turn), turn.database, turn.sizes.fan_out) for turn in plan.turns()]

    assert turns == [(["livegate-distinct"], "postgresql", (2_000,)), (["naive"], "postgresql", (2_000,))]


def of_rounds(contestant, *values, database="sqlite", fault=""):
    return [
        Round("fan-out", database, contestant, number, {"5": {"latency_ms": value}}, fault)
        for number, value in enumerate(values, 1)
    ]


RATIO = Ratio("faster", "fan-out", "5", "latency_ms", "naive", "floor", False, {"sqlite": 4, "postgresql": 9})


def test_a_ratio_is_that_of_the_medians_with_the_spread_of_the_rounds():
    results = Results()
    results.rounds += of_rounds("floor", 1, 2, 4) + of_rounds("naive", 8, 10, 40)

    ratio = results.ratio(RATIO, "sqlite")

    assert (ratio.median, ratio.least, ratio.most) == (5, 5, 10)
    assert RATIO.reached(ratio.median, "sqlite")
    assert not RATIO.reached(ratio.median, "postgresql")
    assert results.ratio(RATIO, "postgresql") is None


def test_an_invalid_round_does_not_count_and_is_told():
    results = Results()
    results.rounds += of_rounds("floor", 2) + of_rounds("naive", 10)
    results.rounds.append(Round("fan-out", "sqlite", "naive", 2, fault="amira received nothing"))
    results.rounds.append(Round("fan-out", "sqlite", "classic", 1, fault="cleo received nothing"))

    found = as_json(results, [RATIO], ["sqlite"], place_of)

    assert results.failed() == [("fan-out", "sqlite", "classic")]
    assert found["ratios"] == {"faster": 5}
    assert found["workloads"]["fan-out"]["sqlite"]["naive"]["5"]["latency_ms"]["median"] == 10
    assert [entry["fault"] for entry in found["invalid"]] == ["amira received nothing", "cleo received nothing"]
    assert "cleo received nothing" in report(results, [RATIO], ["sqlite"])


def test_the_ratios_are_those_that_are_promised():
    keys = {ratio.key: ratio.goal for ratio in ratios(Sizes())}

    assert keys["fanout_3_audiences_vs_floor"] == {"sqlite": 1.5, "postgresql": 1.5}
    assert keys["fanout_naive_vs_livegate"] == {"sqlite": 90, "postgresql": 120}
    assert all(ratio.case == "1000" for ratio in ratios(Sizes()) if ratio.figure == "latency_ms")


def test_a_run_writes_its_figures_and_says_that_all_of_them_count(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("bench.__main__.Sizes", lambda: TINY)
    file = tmp_path / "figures.json"
    asked = ["storm", "--rounds", "1", "--databases", "sqlite", "--contestants", "livegate-3"]

    code = main([*asked, "--json", str(file)])

    written = json.loads(file.read_text())
    assert code == 0
    assert written["ratios"]["storm_queries"] > 0
    assert written["workloads"]["storm"]["sqlite"]["livegate-3"]["all"]["queries"]["median"] > 0
    assert "storm_queries" in capsys.readouterr().out


def test_a_run_in_which_a_contestant_has_no_round_that_counts_fails(monkeypatch):
    results = Results()
    results.rounds += of_rounds("floor", 2) + of_rounds("naive", 10, fault="amira received nothing")
    monkeypatch.setattr("bench.__main__.run", lambda plan, keep_connections: results)

    assert main(["fan-out"]) == 1
