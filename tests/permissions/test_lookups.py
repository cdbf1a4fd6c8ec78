"""A lookup for many keys: the same rows as ``__in`` finds, on whatever database."""

from __future__ import annotations

import random
import sys
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections
from django.db.models import BigIntegerField, CharField, Count, F, IntegerField, Model
from django.test.utils import CaptureQueriesContext, isolate_apps
from lab.fields import Shifted, Untouched, Written, rows_with
from lab.models import Badge, Document, Page, Slug

from livegate.permissions.lookups import Among, keyed

pytestmark = pytest.mark.django_db
User = get_user_model()

TEXTS = [
    "",
    "1",
    "null",
    "NULL",
    "a,b",
    'quoted "twice"',
    "it's",
    "back\\slash",
    "%s",
    "{}",
    "Zürich",
    "line\nbreak",
    "🜁",
]


def narrow(rows, path, keys):
    return rows.filter(Among(path, keys))


@pytest.fixture(params=["its own way", "from key to key", "the way of any other database"], autouse=True)
def way(request, monkeypatch):
    """Each test runs three times: as a condition, with a table of the keys, and where the database is not known."""
    if request.param == "the way of any other database":
        monkeypatch.setattr(connections["default"], "vendor", "other")
    if request.param == "from key to key":
        monkeypatch.setattr(sys.modules[__name__], "narrow", keyed)


def found(model, path, keys):
    return set(narrow(model.objects.all(), path, keys).values_list("pk", flat=True))


def expected(model, path, keys):
    return set(model.objects.filter(**{f"{path}__in": keys}).values_list("pk", flat=True))


@pytest.fixture
def shelf():
    """Some pages, documents, badges and slugs, of three owners and of none."""
    owners = [User.objects.create(username=f"owner {number}") for number in range(3)]
    for number in range(12):
        owner = [*owners, None][number % 4]
        page = Page.objects.create(owner=owner, text=str(number))
        page.editors.set(owners[: number % 3])
        Badge.objects.create(document=Document.objects.create(owner=owner))
    for text in TEXTS:
        Slug.objects.create(slug=text)
    return owners


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (Page, "pk"),
        (Page, "id"),
        (Page, "owner"),
        (Page, "owner_id"),
        (Page, "owner__username"),
        (Page, "text"),
        (Document, "pk"),
        (Badge, "pk"),
        (Badge, "document"),
        (Badge, "document__owner"),
        (Slug, "pk"),
        (Slug, "slug"),
    ],
)
def test_any_keys_find_what_in_finds(shelf, model, path):
    dice = random.Random(path)
    there = [key for key in model.objects.values_list(path, flat=True).distinct() if key is not None]
    elsewhere = {int: 77_777, UUID: uuid4(), str: "nowhere"}[type(there[0])]

    for size in range(len(there) + 1):
        for keys in (dice.sample(there, size), {elsewhere, *dice.sample(there, size)}):
            assert found(model, path, keys) == expected(model, path, keys)
            assert bool(found(model, path, keys)) is (size > 0)


@pytest.mark.parametrize("kind", [set, list, tuple, frozenset, dict.fromkeys, iter])
def test_keys_come_in_any_collection(shelf, kind):
    keys = [page.pk for page in Page.objects.all()[:3]]

    assert found(Page, "pk", kind(keys)) == set(keys)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_one_key_whatever_is_in_it(shelf, text):
    assert found(Slug, "pk", [text, "another"]) == {text}


@pytest.mark.parametrize("model", [Page, Document, Slug])
def test_no_keys_find_nothing(shelf, model):
    assert found(model, "pk", []) == set()
    assert model.objects.exclude(Among("pk", [])).count() == model.objects.count()


def test_a_key_may_be_written_as_a_form_or_an_url_has_it(shelf):
    page, document = Page.objects.first(), Document.objects.first()

    assert found(Page, "pk", [str(page.pk), 77_777]) == {page.pk}
    assert found(Document, "pk", [str(document.pk), uuid4()]) == {document.pk}
    assert found(Document, "pk", [document.pk.hex]) == {document.pk}


@pytest.mark.parametrize("keys", [[None], [None, 77_777]])
def test_none_is_no_key(shelf, keys):
    assert found(Page, "owner", keys) == expected(Page, "owner", keys) == set()
    assert Page.objects.exclude(Among("pk", keys)).count() == Page.objects.exclude(pk__in=keys).count() == 12


def test_a_relation_to_many_is_followed(shelf):
    through = Page.editors.through

    for owner in shelf:
        pages = expected(Page, "editors", [owner.pk])
        assert found(Page, "editors", [owner.pk]) == pages
        assert set(through.objects.filter(Among("user", {owner.pk})).values_list("page", flat=True)) == pages


def test_it_combines_with_other_conditions(shelf):
    keys = [page.pk for page in Page.objects.all()[:8]]

    some = Page.objects.filter(Among("pk", keys), Among("owner", [shelf[0].pk]), text__gt="0")

    assert set(some) == set(Page.objects.filter(pk__in=keys, owner__in=[shelf[0].pk], text__gt="0"))
    assert set(narrow(Page.objects.filter(text__gt="0"), "pk", keys).filter(owner=shelf[0])) == set(some)
    assert some.exists()
    assert set(Page.objects.filter(Among("pk", keys) | Among("owner", [shelf[0].pk]))) == set(
        Page.objects.filter(pk__in=keys) | Page.objects.filter(owner__in=[shelf[0].pk])
    )


def test_it_stands_in_another_query_and_is_counted(shelf):
    keys = [page.pk for page in Page.objects.all()[:8]]
    some = narrow(Page.objects.all(), "pk", keys)

    assert some.count() == len(keys)
    assert set(Page.objects.filter(pk__in=some.values("pk"))) == set(Page.objects.filter(pk__in=keys))
    counted = narrow(Page.objects.all(), "owner", [owner.pk for owner in shelf]).values("owner").annotate(Count("pk"))
    assert {row["pk__count"] for row in counted} == {3}


def test_there_is_one_table_of_keys_in_a_query(shelf):
    with pytest.raises(ValueError, match="one table of keys"):
        keyed(keyed(Page.objects.all(), "pk", [1, 2]), "owner", [1, 2])


def test_an_expression_may_stand_in_the_place_of_a_path(shelf):
    assert set(Page.objects.filter(Among(F("text"), ["3", "4"])).values_list("text", flat=True)) == {"3", "4"}


def test_keys_of_a_field_with_a_form_of_its_own_are_prepared_by_it(shelf, monkeypatch):
    """A primary key of another library's, whose values in Python the database does not know."""

    class Key:
        def __init__(self, number):
            self.number = number

    own = IntegerField.get_prep_value
    monkeypatch.setattr(IntegerField, "get_prep_value", lambda field, key: own(field, getattr(key, "number", key)))
    page = Page.objects.first()

    assert found(Page, "pk", [Key(page.pk), Key(77_777)]) == {page.pk}


class Snowflake(CharField):
    """Numbers that are texts in Python: JavaScript could not hold them."""

    def db_type(self, connection):
        return "bigint"

    def rel_db_type(self, connection):
        return "bigint"

    def cast_db_type(self, connection):
        return "bigint"

    def from_db_value(self, value, expression, connection):
        return None if value is None else str(value)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("leads", [True, False])
@isolate_apps("lab")
def test_keys_are_found_in_a_column_of_another_type_than_that_of_their_field(leads):
    class Thing(Model):
        key = Snowflake(primary_key=True, max_length=20)

        class Meta:
            app_label = "lab"

    with connection.schema_editor() as editor:
        editor.create_model(Thing)
    try:
        Thing.objects.bulk_create([Thing(key="5"), Thing(key="6")])
        for keys in (["5"], ["5", "6"]):
            assert Thing.objects.filter(Among("key", keys, leads=leads)).count() == len(keys)
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Thing)


def test_a_thousand_keys_are_one_parameter_where_the_database_can_take_them_so(shelf):
    keys = range(1, 1_001)

    sql, parameters = Page.objects.filter(Among("pk", keys)).query.sql_with_params()

    assert len(parameters) == (1_000 if connection.vendor == "other" else 1)
    assert ("IN (SELECT value FROM json_each" in sql) is (connection.vendor == "sqlite")
    assert ("= ANY(" in sql) is (connection.vendor == "postgresql")


def test_sqlite_goes_from_key_to_key(shelf):
    """Also where it believes that there are few rows: by itself, it would go through all of them, and then of the keys
    for each."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {Page._meta.db_table}")
        for path in ("pk", "owner"):
            [first, *others] = keyed(Page.objects.all(), path, range(1, 1_001)).explain().splitlines()
            assert "SCAN json_each" in first
            assert "SEARCH lab_page" in "".join(others)
    sql, _ = keyed(Page.objects.all(), "owner", [7]).query.sql_with_params()
    assert "json_each" not in sql


def test_one_key_is_compared_with_where_sqlite_would_make_a_list_of_it(shelf):
    sql, parameters = Page.objects.filter(Among("pk", [7])).query.sql_with_params()

    assert ("json_each" in sql, parameters == (7,)) == (False, connection.vendor != "postgresql")


def test_what_does_not_lead_sorts_out_among_what_else_finds(shelf):
    """SQLite would begin with the group, however many are in it, for it knows nothing of how many there are."""
    through = Page.editors.through
    for some in ([shelf[0].pk], [shelf[0].pk, shelf[1].pk]):
        pages = [page.pk for page in Page.objects.all()]
        rows = through.objects.filter(Among("page", pages), Among("user", some, leads=False))
        assert set(rows) == set(through.objects.filter(user__in=some))
        if connection.vendor == "sqlite":
            assert "(page_id=?)" in rows.explain()


@pytest.mark.parametrize("path", ["pk", "owner"])
def test_postgresql_is_given_keys_of_the_type_of_their_column(shelf, path):
    """Of another, it compares each row with each key, which it does not show in its plans."""
    sql, _ = Page.objects.filter(Among(path, range(1_000))).query.sql_with_params()
    column = Page._meta.get_field("id" if path == "pk" else path)

    assert (f"= ANY(%s::{column.rel_db_type(connection)}[])" in sql) is (connection.vendor == "postgresql")


@pytest.mark.parametrize("way", ["its own way"], indirect=True)  # the drivers of others may not know such numbers
@pytest.mark.parametrize("path", ["pk", "owner"])
@pytest.mark.parametrize("bits", [15, 31, 63, 64, 200])
def test_a_number_that_no_column_can_hold_is_no_key(shelf, path, bits):
    there = Page.objects.values_list(path, flat=True)[0]

    for beyond in (1 << bits, -1 - (1 << bits)):
        assert found(Page, path, [beyond]) == set()
        others = Page.objects.filter(**{f"{path}__isnull": False})
        assert others.exclude(Among(path, [beyond])).count() == others.count() > 0
        assert found(Page, path, [there, beyond, 77_777]) == expected(Page, path, [there])


def test_the_same_query_is_made_for_no_keys_and_for_many(shelf):
    def queries(keys):
        with CaptureQueriesContext(connection) as asked:
            found(Page, "pk", keys)
        return len(asked)

    # Django knows without asking that nothing is in an empty list. What costs another query must not tell it.
    assert queries([1, 2, 3]) == 1
    assert queries([]) == (0 if connection.vendor == "other" else 1)


# Fields of the application's


def values(model, keys, **options):
    return sorted(model.objects.filter(Among("value", keys, **options)).values_list("value", flat=True))


@pytest.mark.parametrize("keys", [[1001], [1001, 1002], [1, 2]])
def test_a_number_that_a_field_makes_another_of_finds_what_shows_it(keys):
    shifted = rows_with(Shifted(), [1001, 1002, 2001])

    assert values(shifted, keys) == [key for key in keys if key > 1000]


@pytest.mark.parametrize("keys", [["1"], ["1", "2"]])
def test_what_does_not_lead_finds_what_is_written_as_a_text(keys):
    """SQLite makes a number of a text for a column of numbers, but not for an expression, which a ``+`` makes of it."""
    written = rows_with(Written("varchar(9)" if connection.vendor == "postgresql" else "integer"), ["1", "2", "3"])

    assert values(written, keys, leads=False) == keys


@pytest.mark.parametrize("way", ["its own way"], indirect=True)
@pytest.mark.parametrize("beyond", [1 << 63, 1 << 64, -1 - (1 << 63)])
@pytest.mark.parametrize(("field", "held"), [(BigIntegerField(), -1 << 63), (Untouched("double precision"), 0.5)])
def test_a_number_that_no_column_can_hold_is_no_other(beyond, field, held):
    model = rows_with(field.clone(), [held, 5])

    assert (values(model, [beyond]), values(model, [beyond, 5])) == ([], [5])


@pytest.mark.parametrize("keys", [["1", 2], [1, "2"], ["1", "2"]])
def test_keys_may_be_of_several_types(keys):
    assert values(rows_with(IntegerField(), [1, 2, 3]), keys) == [1, 2]
