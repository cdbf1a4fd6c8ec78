"""Columns: what may be read once for all, because no code of the application's has a say in it."""

from __future__ import annotations

import datetime
from decimal import Decimal
from itertools import count

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.db import DatabaseError, models
from django.db.models import Model
from lab import shapes
from lab.models import Badge, Document, ForeignChild, Page, Slug, Tracked
from rest_framework import serializers

from livegate.permissions import has_perm, is_owner
from livegate.serializers import HashidField, HashidRelatedField, PerUserSerializerMixin
from livegate.serializers.columns import columns_of, layout_of
from livegate.serializers.encoding import encode

User = get_user_model()
numbers = count(1)


def serializer(model, *names, base=serializers.ModelSerializer, guards=None, **fields):
    """A serializer class of a model, with these fields of its own."""
    meta = type("Meta", (), {"model": model, "fields": [*names, *fields], "guards": guards or {}})
    return type(f"Made{next(numbers)}", (base,), {"Meta": meta, **fields})


def columns(model, *names, **fields):
    """The names of the fields that are columns."""
    return set(layout_of(serializer(model, *names, **fields), model).columns)


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
        "_context",
        "hidden_fields",
        "represent_without",
        "_readable_fields",
        "__getattribute__",
        "serializer_field_mapping",
    ],
)
def test_a_class_that_overrides_what_decides_has_a_say(name):
    base = type("Base", (PerUserSerializerMixin, serializers.ModelSerializer), {name: None})
    is_known = hasattr(serializers.ModelSerializer, name) or hasattr(PerUserSerializerMixin, name)

    assert (layout_of(serializer(Page, "text", base=base), Page) is None) is is_known


@pytest.mark.parametrize("name", ["create", "update", "validate", "validate_text", "get_shown", "color"])
def test_a_class_that_has_something_else_of_its_own_has_none(name):
    base = type("Base", (serializers.ModelSerializer,), {name: lambda self, *args: None})

    assert layout_of(serializer(Page, "text", base=base), Page) is not None


def test_a_metaclass_of_the_applications_may_do_anything():
    meta = type("Meta", (serializers.SerializerMetaclass,), {})
    base = meta("Base", (serializers.ModelSerializer,), {})

    assert layout_of(serializer(Page, "text", base=base), Page) is None


@pytest.mark.parametrize(
    "shape", [shapes.Whole, shapes.Getting, shapes.Representing, shapes.Data, shapes.Hiding, shapes.ByInit]
)
def test_the_shapes_that_have_a_say_have_no_layout(shape):
    assert layout_of(shape, Page) is None


def test_what_can_not_be_made_has_no_layout():
    assert layout_of(serializer(Page, "nothing"), Page) is None
    base = type("Base", (PerUserSerializerMixin, serializers.ModelSerializer), {})
    assert layout_of(serializer(Page, "text", base=base, guards={"txt": has_perm("view_page")}), Page) is None


# What they show


@pytest.mark.django_db
def test_they_are_shown_as_drf_shows_them():
    made = serializer(User, "date_joined", "last_login", "is_active", "username", id=HashidField())
    user = User.objects.create(username="Zoë \u2028", last_login=datetime.datetime.now(tz=datetime.UTC))

    columns = columns_of(made, user)

    assert columns.values == made(user).data
    assert columns.values == {**made(User.objects.get(pk=user.pk)).data}
    [(place, text)] = columns.among({"date_joined"})
    assert (place, b"{%b}" % text) == (0, encode(made(user).data))


def test_none_is_none_also_where_a_field_would_make_a_text_of_it():
    made = serializer(Page, "text", "owner")

    assert columns_of(made, Page(text=None)).values == {"text": None, "owner": None}


def test_those_that_stand_beside_each_other_behind_one_guard_are_written_together():
    owner, view = is_owner("owner"), has_perm("view_page")
    made = serializer(
        Tracked,
        *("id", "title", "count", "owner", "unwatched"),
        base=type("Base", (PerUserSerializerMixin, serializers.ModelSerializer), {}),
        guards={"count": owner, "owner": owner, "unwatched": view},
    )

    columns = columns_of(made, Tracked(pk=1, title="t", count=2, owner_id=3, unwatched="u"))

    assert columns.among({"id", "title"}) == [(0, b'"id":1,"title":"t"')]
    assert columns.among({"count", "owner"}) == [(2, b'"count":2,"owner":3')]
    assert columns.among({"unwatched"}) == [(4, b'"unwatched":"u"')]
    assert columns.among(set()) == []


@pytest.mark.parametrize("value", [[], {}, object(), "text".join, Page(), type("Text", (str,), {})("text")])
def test_where_a_row_holds_what_no_column_holds_the_serializer_makes_it(value):
    assert columns_of(serializer(Page, "text"), Page(text=value)) is None


def test_where_one_can_not_be_written_the_serializer_fails_by_itself():
    made = serializer(Page, "text", text=serializers.FloatField())

    assert columns_of(made, Page(text=Decimal("1.5"))).values == {"text": 1.5}
    assert columns_of(made, Page(text=float("nan"))) is None
    assert columns_of(made, Page(text="no number")) is None


def test_what_the_database_refuses_is_raised(monkeypatch):
    def refuse(*args, **kwargs):
        raise DatabaseError

    monkeypatch.setattr(Model, "refresh_from_db", refuse)

    with pytest.raises(DatabaseError):
        columns_of(serializer(Page, "text"), Page.from_db("default", ["id"], [1]))
