"""Columns: what may be read once for all, because no code of the application's has a say in it."""

from __future__ import annotations

import datetime
from decimal import Decimal
from itertools import count

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.db import models
from lab import shapes
from lab.models import Badge, Document, ForeignChild, Page, Slug, Tracked
from rest_framework import serializers

from livegate.permissions import has_perm, is_owner
from livegate.serializers import FactField, HashidField, HashidRelatedField, PerUserSerializerMixin
from livegate.serializers.columns import columns_of, declaration, fields_of, has_a_say
from livegate.serializers.encoding import encode

User = get_user_model()
numbers = count(1)


def serializer(model, *names, base=serializers.ModelSerializer, guards=None, **fields):
    """A serializer class of a model, with these fields of its own."""
    meta = type("Meta", (), {"model": model, "fields": [*names, *fields], "guards": guards or {}})
    return type(f"Made{next(numbers)}", (base,), {"Meta": meta, **fields})


def shown(serializer, model):
    """The fields of a serializer, where all of them show columns or are facts and nobody has a say; else None."""
    return None if has_a_say(serializer) else fields_of(serializer, model, declaration(serializer))


def columns(model, *names, **fields):
    """Those of the fields that show columns, each in a serializer of its own."""
    own = [(name, serializer(model, name)) for name in names]
    own += [(name, serializer(model, **{name: field})) for name, field in fields.items()]
    return {name for name, made in own if shown(made, model) is not None}


# Which fields are columns


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Page, ["id", "text", "owner"]),
        (Page, ["pk", "owner_id"]),
        (Tracked, ["id", "title", "count", "owner", "unwatched"]),
        (Document, ["id", "owner", "text"]),
        (Badge, ["document"]),
        (Slug, ["slug"]),
        (ForeignChild, ["id", "name", "toy"]),
        (User, ["id", "username", "email", "is_active", "date_joined", "last_login"]),
        (Card, ["title", "salary"]),
    ],
)
def test_what_django_keeps_in_the_row_is_a_column(model, names):
    assert columns(model, *names) == set(names) - {"pk"}


def test_ids_are_columns_and_so_are_the_ids_of_what_the_row_names():
    owner = HashidRelatedField(queryset=User.objects.all())

    assert columns(Page, "text", id=HashidField(), owner=owner) == {"text", "id", "owner"}


@pytest.mark.parametrize(
    "field",
    [
        serializers.SerializerMethodField(method_name="get_text"),
        serializers.CharField(source="owner.username"),
        serializers.CharField(source="owner"),
        serializers.CharField(source="notify_me"),
        serializers.CharField(source="nothing", required=False),
        serializers.StringRelatedField(source="owner"),
        serializers.PrimaryKeyRelatedField(source="editors", many=True, read_only=True),
        serializers.ListField(source="text"),
        type("Shouting", (serializers.CharField,), {})(source="text"),
        HashidRelatedField(source="owner.groups", read_only=True),
    ],
)
def test_what_anything_else_is_asked_for_is_no_column(field):
    assert columns(Page, "text", shown=field) == {"text"}


class Shouted(models.CharField):
    """A field of the application's, with a form of its own."""

    def from_db_value(self, value, expression, connection):
        return value and value.upper()


def made_up(**attributes):
    """A model that has no table."""
    meta = type("Meta", (), {"app_label": "lab", "managed": False})
    name = f"MadeUp{next(numbers)}"
    return type(name, (models.Model,), {"__module__": __name__, "Meta": meta, **attributes})


class Described(models.CharField):
    """Puts a descriptor of its own on the model."""

    descriptor_class = type("Descriptor", (models.CharField.descriptor_class,), {})


def test_a_field_of_another_kind_than_djangos_is_no_column():
    model = made_up(
        shouted=Shouted(max_length=9),
        described=Described(max_length=9),
        anything=models.JSONField(default=dict),
        made_anew=models.CharField(max_length=9, choices=lambda: [("a", "A")]),
        chosen=models.CharField(max_length=9, choices=[("a", "A")]),
    )

    assert columns(model, "id", "shouted", "described", "anything", "made_anew", "chosen") == {"id", "chosen"}


@pytest.mark.parametrize("name", ["pk", "serializable_value"])
def test_a_model_that_answers_for_itself_has_no_columns(name):
    model = made_up(text=models.CharField(max_length=9), **{name: property(lambda self: 1)})

    assert columns(model, "text", id=HashidField()) == set()


# Who has a say


@pytest.mark.parametrize(
    "name",
    [
        "__init__",
        "fields",
        "get_fields",
        "build_field",
        "get_extra_kwargs",
        "to_representation",
        "data",
        "instance",
        "_context",
        "color",
        "hidden_fields",
        "represent_without",
        "_readable_fields",
        "__getattribute__",
        "serializer_field_mapping",
    ],
)
def test_a_class_that_overrides_what_decides_has_a_say(name):
    base = type("Base", (PerUserSerializerMixin, serializers.ModelSerializer), {name: None})
    is_heard = name != "color"

    assert (shown(serializer(Page, "text", base=base), Page) is None) is is_heard


@pytest.mark.parametrize("name", ["create", "update", "validate", "validate_text", "get_shown", "color"])
def test_a_class_that_has_something_else_of_its_own_has_none(name):
    base = type("Base", (serializers.ModelSerializer,), {name: lambda self, *args: None})

    assert shown(serializer(Page, "text", base=base), Page) is not None


def test_a_metaclass_of_the_applications_may_do_anything():
    meta = type("Meta", (serializers.SerializerMetaclass,), {})
    base = meta("Base", (serializers.ModelSerializer,), {})

    assert shown(serializer(Page, "text", base=base), Page) is None


@pytest.mark.parametrize(
    "shape", [shapes.Whole, shapes.Getting, shapes.Representing, shapes.Data, shapes.Hiding, shapes.ByInit]
)
def test_the_shapes_that_have_a_say_have_no_layout(shape):
    assert shown(shape, Page) is None


def test_what_can_not_be_made_is_made_by_nobody():
    assert columns_of(serializer(Page, "nothing"), Page(text="text")) is None
    base = type("Base", (PerUserSerializerMixin, serializers.ModelSerializer), {})
    misspelt = serializer(Page, "text", base=base, guards={"txt": has_perm("view_page")})
    assert columns_of(misspelt, Page(text="text")) is None


@pytest.mark.parametrize(
    "field",
    [
        serializers.SerializerMethodField(),
        serializers.CharField(source="owner.username"),
        type("Own", (serializers.CharField,), {})(source="text", write_only=True),
    ],
)
def test_one_field_of_another_kind_is_enough_for_the_serializer_to_make_all(field):
    assert shown(serializer(Page, "text", "owner"), Page) is not None
    assert shown(serializer(Page, "text", "owner", other=field), Page) is None


def test_facts_are_asked_for_by_themselves_where_livegates_serializers_ask():
    fact = FactField(lambda viewers, pages: {}, default=None)

    assert list(shown(shapes.Facts, Page)) == shapes.Facts.Meta.fields
    assert shown(serializer(Page, "text", fact=fact), Page) is None


def test_a_field_whose_class_was_altered_is_not_drfs_any_more(monkeypatch):
    made, row = serializer(Page, "text"), Page(text="text")
    assert columns_of(made, row) is not None

    monkeypatch.setattr(serializers.CharField, "to_representation", lambda self, value: "altered")

    assert columns_of(made, row) is None


def test_a_class_that_is_altered_later_has_a_say_from_then_on(monkeypatch):
    made, row = serializer(Page, "text"), Page(text="text")
    assert columns_of(made, row) is not None

    monkeypatch.setattr(made, "to_representation", lambda self, page: {"text": "***"}, raising=False)

    assert columns_of(made, row) is None


def test_what_a_class_declares_later_counts_from_then_on():
    base = type("Base", (PerUserSerializerMixin, serializers.ModelSerializer), {})
    made = serializer(Tracked, "title", "count", base=base)
    row = Tracked(title="t", count=2)
    assert columns_of(made, row).among({"title", "count"}) == [(0, b'"title":"t","count":2')]

    made.Meta.guards = {"count": has_perm("view_tracked")}
    assert columns_of(made, row).among({"title"}) == [(0, b'"title":"t"')]

    made.Meta.guards = {"cuont": has_perm("view_tracked")}
    assert columns_of(made, row) is None

    made.Meta.guards, made.Meta.fields = {}, ["count"]
    assert list(columns_of(made, row).places) == ["count"]

    made._declared_fields["shown"] = serializers.CharField(source="title")
    made.Meta.fields = ["shown", "count"]
    assert list(columns_of(made, row).places) == ["shown", "count"]


# What they show


@pytest.mark.django_db
def test_they_are_shown_as_drf_shows_them():
    made = serializer(User, "date_joined", "last_login", "is_active", "username", id=HashidField())
    user = User.objects.create(username="Zoë \u2028", last_login=datetime.datetime.now(tz=datetime.UTC))

    [(place, text)] = columns_of(made, user).among(set(made.Meta.fields))

    assert (place, b"{%b}" % text) == (0, encode(made(user).data))


def test_none_is_none_also_where_a_field_would_make_a_text_of_it():
    columns = columns_of(serializer(Page, "text", "owner"), Page(text=None))

    assert columns.among({"text", "owner"}) == [(0, b'"text":null,"owner":null')]


def test_those_that_stand_beside_each_other_behind_one_guard_are_written_together():
    owner, view = is_owner("owner"), has_perm("view_page")
    made = serializer(
        Tracked,
        *("title", "count", "owner", "unwatched"),
        base=type("Base", (PerUserSerializerMixin, serializers.ModelSerializer), {}),
        guards={"count": owner, "owner": owner, "unwatched": view},
    )

    columns = columns_of(made, Tracked(pk=1, title="t", count=2, owner_id=3, unwatched="u"))

    assert columns.among({"title"}) == [(0, b'"title":"t"')]
    assert columns.among({"count", "owner"}) == [(1, b'"count":2,"owner":3')]
    assert columns.among({"unwatched"}) == [(3, b'"unwatched":"u"')]
    assert columns.among(set()) == columns.among({"count"}) == []


@pytest.mark.parametrize("value", [[], {}, object(), "text".join, Page(), type("Text", (str,), {})("text")])
def test_where_a_row_holds_what_no_column_holds_the_serializer_makes_it(value):
    assert columns_of(serializer(Page, "text"), Page(text=value)) is None


def test_where_one_can_not_be_written_the_serializer_fails_by_itself():
    made = serializer(Page, text=serializers.FloatField())

    assert columns_of(made, Page(text=Decimal("1.5"))).among({"text"}) == [(0, b'"text":1.5')]
    assert columns_of(made, Page(text=float("nan"))) is None
    assert columns_of(made, Page(text="no number")) is None


def test_what_was_not_read_from_the_row_is_left_to_the_serializer():
    assert columns_of(serializer(Page, "id"), Page.from_db("default", ["id"], [1])) is None


def test_what_stands_in_the_place_of_a_column_is_asked():
    model = made_up(text=models.CharField(max_length=9), other=models.CharField(max_length=9))
    model.text = property(lambda row: "***", lambda row, value: None)

    assert columns(model, "text", "other") == {"other"}


def test_a_related_key_that_a_field_of_the_applications_writes_is_no_column():
    own = serializers.PrimaryKeyRelatedField(read_only=True, pk_field=serializers.CharField())

    assert columns(Page, owner=own) == set()


def test_what_is_only_written_is_not_shown():
    made = serializer(Page, "owner", text=serializers.CharField(write_only=True))

    assert list(columns_of(made, Page(text="text")).places) == ["owner"]
