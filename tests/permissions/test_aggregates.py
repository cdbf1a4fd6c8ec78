"""An aggregate for many keys: the same keys as in a row each, with the types that they have in Python."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection, connections
from django.db.models import IntegerField
from lab.fields import Shifted, Untouched, rows_with
from lab.models import Badge, Document, Page, Slug

from livegate.permissions.aggregates import Collected, listed

pytestmark = pytest.mark.django_db
User = get_user_model()


@pytest.fixture(autouse=True)
def shelf():
    owners = [User.objects.create(username=name) for name in ("one", "other")]
    groups = [Group.objects.create(name=name) for name in ("first", "second", "empty")]
    for number in range(7):
        owner = [*owners, None][number % 3]
        Page.objects.create(owner=owner, text=str(number % 2)).editors.set(owners[: number % 3])
        Badge.objects.create(document=Document.objects.create(owner=owner, text=str(number % 2)))
    for text in ("", "1", "null", 'quoted "twice"', "back\\slash", "Zürich", "🜁"):
        Slug.objects.create(slug=text)
    for position, owner in enumerate(owners):
        owner.groups.set(groups[: position + 1])


@pytest.mark.parametrize(
    ("model", "by", "path", "kind"),
    [
        (Page, "text", "pk", int),
        (Page, "owner", "pk", int),
        (Page, "text", "editors", int),
        (Page, "text", "owner", int),
        (Page, "owner", "text", str),
        (Document, "owner", "pk", UUID),
        (Document, "owner__username", "pk", UUID),
        (Badge, "document__owner", "document", UUID),
        (Badge, "document__text", "pk", UUID),
        (Slug, "pk", "pk", str),
        (User.groups.through, "group", "user", int),
    ],
)
def test_the_keys_of_a_group_are_those_of_its_rows(model, by, path, kind):
    rows = {}
    for group, key in model.objects.values_list(by, path).order_by():
        rows.setdefault(group, []).append(key)

    collected = dict(model.objects.values_list(by).annotate(keys=Collected(path)).order_by())

    assert collected.keys() == rows.keys()
    assert len(rows) > 1
    for group, keys in rows.items():
        assert sorted(listed(collected[group]), key=repr) == sorted(keys, key=repr)
        assert {type(key) for key in listed(collected[group])} <= {kind, type(None)}


def test_keys_are_what_a_field_makes_of_what_the_column_holds():
    collected = rows_with(Shifted(), [1001, 2001]).objects.aggregate(keys=Collected("value"))

    assert sorted(collected["keys"]) == [1001, 2001]


def test_where_there_are_no_rows_there_are_no_groups():
    assert dict(Page.objects.filter(text="none").values_list("text").annotate(keys=Collected("pk"))) == {}


@pytest.mark.parametrize(
    ("vendor", "function"),
    [
        ("sqlite", "JSON_GROUP_ARRAY"),
        ("postgresql", "ARRAY_AGG"),
        ("mysql", "JSON_ARRAYAGG"),
        ("other", "JSON_ARRAYAGG"),
    ],
)
def test_each_database_has_its_own_function_for_it(monkeypatch, vendor, function):
    monkeypatch.setattr(connections["default"], "vendor", vendor)

    sql = str(Page.objects.values_list("text").annotate(keys=Collected("pk")).query)

    assert f'{function}("lab_page"."id")' in sql


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        *(("[1, 2]", [1, 2]), ("{1,2}", [1, 2]), ([1, 2], [1, 2]), ("[]", []), (None, []), ("[-5]", [-5])),
        *(('["1"]', [1]), ("[1,null]", [1, None]), ("[1.0]", [1])),
    ],
)
def test_a_list_may_come_as_text_or_as_a_list(value, keys):
    collected = Collected("pk").resolve_expression(Page.objects.all().query)

    found = listed(collected.convert_value(value, collected, connection))

    assert list(found) == keys
    assert {type(key) for key in found} <= {int, type(None)}


def test_integers_stay_a_text_until_somebody_looks_at_them():
    keys = dict(Page.objects.filter(text="1").values_list("text").annotate(keys=Collected("pk")))["1"]

    assert isinstance(keys, str)
    assert sorted(listed(keys)) == sorted(Page.objects.filter(text="1").values_list("pk", flat=True))


def test_a_column_of_texts_is_read_as_texts_whatever_the_field_makes_of_them():
    class Padded(Untouched):
        def get_prep_value(self, value):
            return f"{value:06}"

        to_python = IntegerField.to_python

    collected = rows_with(Padded("varchar(9)"), [5, 77]).objects.aggregate(keys=Collected("value"))

    assert sorted(listed(collected["keys"])) == [5, 77]
