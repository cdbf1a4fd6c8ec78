"""Copies that share nothing, and seals that notice whatever was left: what is kept for one viewer reaches no other."""

from __future__ import annotations

from array import array
from collections import deque
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_address
from types import SimpleNamespace
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from board.models import Board, Card
from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import Prefetch, QuerySet, Value
from django.db.models.sql import Query
from django.utils.datastructures import MultiValueDict
from django.utils.functional import SimpleLazyObject
from lab.models import Badge, Document, Note, Page

from livegate.permissions.copies import ATOMS, Seal, own_copies, own_copy, paths_held

pytestmark = pytest.mark.django_db
User = get_user_model()


@pytest.fixture
def card(demo):
    """A card whose changes are tracked, with what lies on two paths from it."""
    return Card.objects.select_related("board__organization", "owner").get()


@pytest.fixture
def document():
    """A document with everything that an instance can hold: relations of each kind, fetched in each way, and things of
    the application's own."""
    owner = User.objects.create(username="owner")
    document = Document.objects.create(owner=owner, text="text")
    for text in ("first", "second"):
        Note.objects.create(document=document, text=text)
    Badge.objects.create(document=document)
    Page.objects.create(owner=owner).editors.add(owner, User.objects.create(username="editor"))
    fetched = Document.objects.select_related("owner", "badge").prefetch_related(
        "notes", Prefetch("notes", to_attr="listed"), "owner__edited_pages__editors"
    )
    document = fetched.get()
    document.json = {"list": [1, 1, {"deep": None}], "none": {"a": None, "b": None}, "empty": {}}
    document.marks = {"a", 1, frozenset({"b"})}
    document.pair = ({}, [])
    document.friends = {document.owner}
    document.rank_of = {document.owner: 1}
    document.thing = SimpleNamespace(inner={"a": 1})
    return document


def mutables(value, seen):
    """Everything that can be changed and that can be reached from a value, by its identity."""
    if type(value) in ATOMS or isinstance(value, type | Query | models.Field) or id(value) in seen:
        return seen
    if not isinstance(value, tuple | frozenset):
        seen[id(value)] = value
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = value
    else:
        inner = [vars(value)] if hasattr(value, "__dict__") else []
    for one in inner:
        mutables(one, seen)
    return seen


# Copies


@pytest.mark.parametrize("fixture", ["document", "card"])
def test_a_copy_shares_nothing_that_can_be_changed(request, fixture):
    original = request.getfixturevalue(fixture)

    copy = own_copy(original)

    ours, theirs = mutables(original, {}), mutables(copy, {})
    assert len(ours) == len(theirs) > 10
    assert [ours[one] for one in ours.keys() & theirs.keys()] == []


def test_two_copies_share_nothing_with_each_other(document):
    one, other = own_copy(document), own_copy(document)

    assert not mutables(one, {}).keys() & mutables(other, {}).keys()


@pytest.mark.parametrize("fixture", ["document", "card"])
def test_a_copy_has_all_that_the_original_has(request, fixture):
    original = request.getfixturevalue(fixture)

    copy = own_copy(original)

    assert copy == original
    assert list(vars(copy)) == list(vars(original))
    for field in original._meta.concrete_fields:
        assert getattr(copy, field.attname) == getattr(original, field.attname)
    assert (copy._state.adding, copy._state.db) == (False, "default")


def test_what_an_application_keeps_on_an_instance_is_copied_in_depth(document):
    copy = own_copy(document)

    assert (copy.json, copy.marks, copy.pair) == (document.json, document.marks, document.pair)
    assert copy.thing.inner == {"a": 1}
    copy.json["list"][2]["deep"] = copy.thing.inner["a"] = "changed"
    copy.pair[0]["new"] = copy.pair[1]
    assert document.json["list"][2] == {"deep": None}
    assert (document.thing.inner, document.pair) == ({"a": 1}, ({}, []))


def test_related_instances_are_copied_with_it_and_stay_related(document):
    copy = own_copy(document)

    assert copy.owner == document.owner
    assert copy.owner is not document.owner
    assert copy.badge.document is copy
    assert copy.friends == {copy.owner}
    assert next(iter(copy.friends)) is next(iter(copy.rank_of)) is copy.owner
    assert [note.document is copy for note in [*copy.notes.all(), *copy.listed]] == [True] * 4


def test_what_was_prefetched_is_there_without_a_query(document, django_assert_num_queries):
    copy = own_copy(document)

    with django_assert_num_queries(0):
        assert [note.text for note in copy.notes.all()] == ["first", "second"]
        assert [note.text for note in copy.listed] == ["first", "second"]
        [page] = copy.owner.edited_pages.all()
        assert {editor.username for editor in page.editors.all()} == {"owner", "editor"}
        assert copy.notes.count() == len(copy.notes.all()) == 2
        assert copy.badge.document.owner.username == "owner"


def test_what_was_prefetched_from_what_was_prefetched_is_there_without_a_query(django_assert_num_queries):
    editor = User.objects.create(username="editor")
    Page.objects.create().editors.add(editor)
    pages = Page.objects.prefetch_related("editors")
    [user] = User.objects.filter(pk=editor.pk).prefetch_related(
        Prefetch("edited_pages", queryset=pages), Prefetch("edited_pages", queryset=pages, to_attr="listed")
    )

    copy = own_copy(user)

    with django_assert_num_queries(0):
        for page in (*copy.listed, *copy.edited_pages.all()):
            assert list(page.editors.all()) == [editor]


def test_a_queryset_in_the_place_of_a_prefetched_one_that_fetched_nothing_is_not_empty(document):
    document._prefetched_objects_cache["notes"] = document.notes.filter(text="second")

    copy = own_copy(document)

    assert [note.text for note in copy.notes.all()] == ["second"]


def test_what_is_left_on_a_prefetched_instance_of_a_copy_stays_there(document):
    copy = own_copy(document)

    copy.notes.all()[0].left = copy.listed[0].left = copy.owner.left = "something"
    copy.listed.pop()
    copy.notes.all()._result_cache.pop()

    assert not any(hasattr(one, "left") for one in [*document.notes.all(), *document.listed, document.owner])
    assert (len(document.listed), len(document.notes.all())) == (2, 2)


def test_a_relation_that_is_asked_for_otherwise_is_read_from_the_database(document, django_assert_num_queries):
    copy = own_copy(document)

    with django_assert_num_queries(2):
        assert copy.notes.filter(text="second").get().document_id == document.pk
        assert copy.notes.last().text in {"first", "second"}


def test_a_relation_that_was_fetched_and_is_not_there_is_not_fetched_again(django_assert_num_queries):
    Document.objects.create(owner=None)
    document = Document.objects.select_related("owner", "badge").prefetch_related("notes").get()

    copy = own_copy(document)

    with django_assert_num_queries(0):
        assert copy.owner is None
        assert not hasattr(copy, "badge")
        assert list(copy.notes.all()) == []


def test_a_tracker_tracks_its_own_copy(card):
    copy = own_copy(card)

    copy.title = "changed"

    assert copy.tracker.changed() == {"title": "Platform engineer"}
    assert card.tracker.changed() == {}
    assert copy.tracker.instance is copy


def test_several_are_copied_as_they_hang_together():
    owner = User.objects.create(username="owner")
    for _ in range(2):
        Document.objects.create(owner=owner)
    one, other = Document.objects.prefetch_related("owner")
    assert one.owner is other.owner

    copy_of_one, copy_of_other = own_copies([one, other])

    assert copy_of_one.owner is copy_of_other.owner
    assert copy_of_one.owner is not one.owner
    assert own_copies([]) == []


def test_an_instance_may_hold_itself():
    page = Page(pk=1)
    page.itself, page.circle = page, [page, {"page": page}]

    copy = own_copy(page)

    assert copy.itself is copy.circle[0] is copy.circle[1]["page"] is copy
    assert copy is not page


def test_what_can_not_be_changed_is_shared():
    values = [None, True, 7, 1.5, "text" * 9, b"bytes", Decimal("1.20"), datetime.now(UTC), uuid4()]
    page = Page(pk=1)
    vars(page).update({f"value_{number}": value for number, value in enumerate(values)})

    copy = own_copy(page)

    assert all(getattr(copy, f"value_{number}") is value for number, value in enumerate(values))


def test_bytes_come_from_every_database_in_a_form_that_can_be_copied():
    Page.objects.create()
    page = Page.objects.annotate(raw=Value(b"raw", output_field=models.BinaryField())).get()

    assert bytes(own_copy(page).raw) == b"raw"


def test_a_value_that_is_a_kind_of_text_but_can_be_changed_is_not_shared():
    class Marked(str):
        marks: list[str]

    text = Marked("text")
    text.marks = []
    page = Page(pk=1, text=text)

    own_copy(page).text.marks.append("left")

    assert text.marks == []


# Paths


def test_the_paths_are_those_of_the_relations_that_were_fetched():
    organized = Card(board=Board(pk=1), owner=User(pk=2))
    assert paths_held([organized]) == {"board", "owner"}
    assert paths_held([Card(board_id=1), Card()]) == set()
    assert paths_held([organized, Card(board=Board(pk=1))]) == {"board", "owner"}


def test_a_path_crosses_what_was_fetched_and_does_not_lead_back(card, document):
    assert paths_held([card]) == {"board", "board__organization", "owner"}
    assert paths_held([document]) == {"owner", "badge"}
    assert document.badge.document is document


def test_what_was_looked_for_and_is_not_there_is_no_path():
    Document.objects.create(owner=None)

    assert paths_held(Document.objects.select_related("owner", "badge")) == set()


# Seals


def replace(mapping, key, value):
    mapping[key] = value


def reorder(mapping, key):
    mapping[key] = mapping.pop(key)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: setattr(document, "new", None),
        lambda document: setattr(document, "text", "other"),
        lambda document: setattr(document, "text", "".join(["te", "xt"])),
        lambda document: setattr(document, "owner", None),
        lambda document: setattr(document, "owner", User(pk=document.owner.pk)),
        lambda document: delattr(document, "text"),
        lambda document: setattr(document._state, "adding", True),
        lambda document: setattr(document._state, "new", 1),
        lambda document: document._state.fields_cache.pop("owner"),
        lambda document: setattr(document.owner, "new", 1),
        lambda document: setattr(document.owner, "is_active", 1),
        lambda document: setattr(document.badge, "new", 1),
        lambda document: setattr(document.notes.all()[1], "text", "other"),
        lambda document: setattr(document.listed[1], "text", "other"),
        lambda document: setattr(document.owner.edited_pages.all()[0].editors.all()[1], "new", 1),
        lambda document: setattr(document.notes.all(), "new", 1),
        lambda document: document.notes.all()._result_cache.pop(),
        lambda document: document.notes.all()._result_cache.reverse(),
        lambda document: document._prefetched_objects_cache.pop("notes"),
        lambda document: replace(document._prefetched_objects_cache, "new", Note.objects.none()),
        lambda document: document.listed.append(document.listed[0]),
        lambda document: document.listed.reverse(),
        lambda document: replace(document.json, "new", None),
        lambda document: replace(document.json, "list", list(document.json["list"])),
        lambda document: replace(document.json["list"], 0, True),
        lambda document: replace(document.json["list"], 0, 1.0),
        lambda document: replace(document.json["list"][2], "deep", 1),
        lambda document: replace(document.json["empty"], "new", None),
        lambda document: document.json["list"].pop(),
        lambda document: reorder(document.json["none"], "a"),
        lambda document: document.marks.add("new"),
        lambda document: document.marks.remove("a"),
        lambda document: document.marks.remove(1) or document.marks.add(True),
        lambda document: document.pair[0].update(new=1),
        lambda document: document.pair[1].append(1),
        lambda document: setattr(next(iter(document.friends)), "new", 1),
        lambda document: document.friends.clear(),
        lambda document: document.rank_of.clear(),
        lambda document: setattr(document.thing, "new", 1),
        lambda document: replace(document.thing.inner, "a", 2),
    ],
)
def test_a_seal_is_broken_by_whatever_is_left(document, change):
    seal = Seal(document)
    assert not seal.is_broken

    change(document)

    assert seal.is_broken
    assert not Seal(document).is_broken


def test_a_seal_covers_what_was_tracked(card):
    seal = Seal(card)

    card.tracker.saved_data["title"] = "left"

    assert seal.is_broken


def test_a_seal_covers_an_instance_that_can_be_called(monkeypatch):
    monkeypatch.setattr(Page, "__call__", lambda page: page, raising=False)
    page = Page(pk=1)
    page.related, page.function, page.kind = Page(pk=2), len, Page
    seal = Seal(page)

    assert not seal.is_broken
    page.related.left = 1
    assert seal.is_broken


class Slotted:
    __slots__ = ["value"]


class PartlySlotted(Slotted):
    pass


class SlottedDict(dict):
    __slots__ = ["value"]


class SlottedCallable(Slotted):
    __slots__ = ()

    def __call__(self):
        pass


class Key(UUID):
    pass


class Full:
    def __init__(self):
        self.inner = []


class FullBySlots:
    __slots__ = ["__dict__", "__weakref__"]


@pytest.mark.parametrize(
    "thing",
    [
        deque(),
        bytearray(),
        Slotted(),
        PartlySlotted(),
        SlottedDict(),
        SlottedCallable(),
        iter([]),
        array("i"),
    ],
    ids=lambda thing: type(thing),
)
def test_where_a_seal_can_not_look_it_is_taken_for_broken(thing):
    page = Page(pk=1)
    page.thing = [thing]

    assert Seal(page).is_broken


@pytest.mark.parametrize(
    "thing",
    [
        object(),
        len,
        Page,
        Full(),
        FullBySlots(),
        Key(int=1),
        range(3),
        timezone(timedelta(hours=1)),
        ZoneInfo("UTC"),
        ip_address("::1"),
        1j,
        print,
    ],
    ids=repr,
)
def test_what_can_not_be_changed_or_can_be_looked_into_breaks_no_seal(thing):
    page = Page(pk=1)
    page.thing = thing

    assert not Seal(own_copy(page)).is_broken


def test_a_seal_looks_into_objects_of_any_class():
    page = Page(pk=1)
    page.thing = Full()
    seal = Seal(page)

    page.thing.inner.append(1)

    assert seal.is_broken


@pytest.mark.parametrize("kind", [dict, list, set, tuple, frozenset])
def test_a_seal_looks_at_what_is_kept_on_a_container_of_a_class_of_its_own(kind):
    page = Page(pk=1)
    page.thing = type("Own", (kind,), {})()
    seal = Seal(page)
    assert not seal.is_broken

    page.thing.left = 1

    assert seal.is_broken


def test_a_seal_looks_into_the_keys_of_a_dict():
    page = Page(pk=1)
    key = Full()
    page.thing = {key: 1}
    seal = Seal(page)

    key.inner.append(1)

    assert seal.is_broken


@pytest.mark.parametrize(
    "change",
    [
        lambda thing: thing.setlistdefault("a").insert(0, 3),
        lambda thing: thing.getlist("a")[0].append(3),
        lambda thing: thing.appendlist("new", 1),
    ],
)
@pytest.mark.parametrize("kept", [lambda thing: thing, lambda thing: SimpleLazyObject(lambda: thing)])
def test_a_seal_looks_into_a_dict_that_tells_only_a_part_of_what_is_in_it(change, kept):
    page = Page(pk=1)
    page.thing = kept(MultiValueDict({"a": [[1], 2]}))
    seal = Seal(page)
    assert not seal.is_broken

    change(page.thing)

    assert seal.is_broken


def test_a_seal_is_not_broken_by_what_was_taken_back(document):
    seal = Seal(document)

    document.new = 1
    del document.new

    assert not seal.is_broken


@pytest.mark.parametrize(
    "read",
    [
        lambda document: [getattr(document, field.name) for field in document._meta.fields],
        lambda document: (document.pk, str(document), repr(document), hash(document), document == document.owner),
        lambda document: document.hashid,
        lambda document: (document.owner.username, document.owner.get_full_name(), document.badge.document.text),
        lambda document: [note.text for note in document.notes.all()],
        lambda document: (len(document.notes.all()), document.notes.count(), bool(document.notes.all())),
        lambda document: document.notes.filter(text="first").exists(),
        lambda document: document.notes.values_list("text"),
        lambda document: (document.notes.first(), document.notes.order_by("text").last()),
        lambda document: document.notes.get(text="first").document.owner,
        lambda document: document.notes.exclude(text="first").count(),
        lambda document: document.notes.aggregate(models.Count("pk")),
        lambda document: document.owner.edited_pages.filter(editors=document.owner).exists(),
        lambda document: [page.editors.all()[0] for page in document.owner.edited_pages.all()],
        lambda document: document.owner.groups.all().exists(),
        lambda document: list(document.owner.groups.all()),
        lambda document: document.owner.has_perm("lab.view_document", document),
        lambda document: [*sorted(document.json["list"][:2]), *document.json, *document.marks],
        lambda document: own_copy(document),
        lambda document: document.serializable_value("owner"),
        lambda document: document.get_deferred_fields(),
        lambda document: Seal(document).is_broken,
    ],
)
def test_a_seal_is_not_broken_by_a_look(document, read):
    copy = own_copy(document)
    seal = Seal(copy)

    read(copy)
    read(copy)

    assert not seal.is_broken


def test_a_seal_is_not_broken_by_a_look_at_what_is_tracked(card):
    seal = Seal(card)

    assert card.tracker.changed() == {}
    assert not card.tracker.has_changed("title")
    assert card.tracker.previous("title") == card.title

    assert not seal.is_broken


def test_what_is_fetched_for_the_first_time_breaks_the_seal():
    Document.objects.create(owner=User.objects.create(username="owner"))
    document = own_copy(Document.objects.get())
    seal = Seal(document)

    assert document.owner.username == "owner"

    assert seal.is_broken


def test_a_copy_of_a_queryset_that_was_not_prefetched_is_a_queryset(document):
    document.later = Note.objects.filter(document=document)

    copy = own_copy(document)

    assert isinstance(copy.later, QuerySet)
    assert copy.later is not document.later
    assert [note.text for note in copy.later] == ["first", "second"]
    assert document.later._result_cache is None
