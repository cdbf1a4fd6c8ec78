"""Queries whose SQL is written once: the same rows as the queryset gives, whatever changes between two times."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection, connections
from django.db.models import Manager, QuerySet
from django.db.models.functions import Upper
from django.test.utils import CaptureQueriesContext
from lab.models import Document, Foreign, ForeignChild, ForeignProxy, Page, Slug, SpecialTracked, Tracked

from livegate.permissions import queries
from livegate.permissions.aggregates import Collected
from livegate.permissions.lookups import Among
from livegate.permissions.queries import instances_of, is_bare, is_plain, rows_of

pytestmark = pytest.mark.django_db
User = get_user_model()


@pytest.fixture(autouse=True)
def forgotten():
    """Nothing is there yet that another test has written."""
    queries.template.cache_clear()
    queries.query_of.cache_clear()


@pytest.fixture
def built():
    """How often querysets were built."""
    return []


@pytest.fixture
def build(built):
    """A queryset of the rows of a model that are among some keys, all columns that ``names`` has."""

    def of(model, names, keys):
        built.append(model)
        return model._base_manager.filter(Among("pk", keys)).values_list(*names).order_by("pk")

    return of


# The same rows


@pytest.mark.parametrize(
    ("model", "names"),
    [(Page, ("pk", "text", "owner")), (Document, ("pk", "owner__username", "text")), (Slug, ("slug",))],
)
@pytest.mark.parametrize("vendor", [connection.vendor, "other"])
def test_they_are_those_of_the_queryset_for_any_keys(build, built, model, names, vendor, monkeypatch):
    monkeypatch.setattr(connections["default"], "vendor", vendor)
    owner = User.objects.create(username="owner")
    fields = [{"slug": f"{number}"} if model is Slug else {"text": "%s", "owner": owner} for number in range(5)]
    made = [model.objects.create(**some) for some in fields]

    for some in ([], made[:1], made[1:4], made):
        keys = [one.pk for one in some]
        rows = rows_of(build, model, names, is_stable=True, keys=keys)
        assert [tuple(row) for row in rows] == list(
            model.objects.filter(pk__in=keys).values_list(*names).order_by("pk")
        )

    # Once for one key, and once for any other number; where each has to be built, the four of them besides.
    assert built.count(model) == (6 if vendor == "other" else 2)


def test_each_time_is_one_query(build):
    for _ in range(2):
        with CaptureQueriesContext(connection) as asked:
            rows_of(build, Page, ("pk",), is_stable=True, keys=[1, 2])
        assert len(asked) == 1


def test_what_is_asked_about_something_else_is_another_query(build, built):
    page, document = Page.objects.create(text="text"), Document.objects.create(text="other")

    for _ in range(2):
        assert rows_of(build, Page, ("text",), is_stable=True, keys=[page.pk]) == [["text"]]
        assert rows_of(build, Page, ("text", "owner"), is_stable=True, keys=[page.pk]) == [["text", None]]
        assert rows_of(build, Document, ("text",), is_stable=True, keys=[document.pk]) == [["other"]]

    assert built == [Page, Page, Document]


def test_several_kinds_of_keys_are_told_apart_by_their_names():
    def edits(users, pages):
        through = Page.editors.through
        return through.objects.filter(Among("page", pages), Among("user", users)).values_list("page", "user")

    users = [User.objects.create(username=str(number)) for number in range(3)]
    page, other = Page.objects.create(), Page.objects.create()
    page.editors.set(users)
    other.editors.set(users[:1])

    for _ in range(2):
        found = rows_of(edits, is_stable=True, users=[users[0].pk, users[1].pk], pages=[page.pk])
        assert sorted(found) == [[page.pk, users[0].pk], [page.pk, users[1].pk]]


def test_keys_are_collected_as_by_the_queryset():
    def owned(owners):
        return Document.objects.filter(Among("owner", owners)).values_list("owner").annotate(keys=Collected("pk"))

    owner = User.objects.create(username="owner")
    made = {Document.objects.create(owner=owner).pk for _ in range(3)}

    for _ in range(2):
        [(key, keys)] = rows_of(owned, is_stable=True, owners=[owner.pk])
        assert (key, set(keys)) == (owner.pk, made)


# Instances


@pytest.mark.parametrize("model", [Page, Tracked, SpecialTracked, Foreign, ForeignProxy, ForeignChild, Document, Slug])
@pytest.mark.parametrize("vendor", [connection.vendor, "other"])
def test_instances_are_those_of_the_queryset(model, vendor, monkeypatch):
    monkeypatch.setattr(connections["default"], "vendor", vendor)
    made = [model.objects.create(pk=f"{number}") if model is Slug else model.objects.create() for number in range(4)]

    for some in ([], made[:1], made[1:3], made):
        keys = [one.pk for one in some]
        for _ in range(2):
            with CaptureQueriesContext(connection) as asked:
                found = instances_of(instances, model, is_stable=True, keys=keys)
            expected = list(instances(model, keys))
            assert len(asked) == (1 if keys or vendor != "other" else 0)
            assert [type(one) for one in found] == [model] * len(some)
            assert found == expected
            assert [state(one) for one in found] == [state(one) for one in expected]


def instances(model, keys):
    return model._base_manager.filter(Among("pk", keys)).order_by("pk")


def state(instance):
    values = {field.attname: getattr(instance, field.attname) for field in instance._meta.concrete_fields}
    return vars(instance).keys(), values, vars(instance._state).keys(), instance._state.db, instance._state.adding


def test_it_is_the_model_that_makes_them(monkeypatch):
    made = []

    def from_db(db, names, values):
        made.append((db, dict(zip(names, values, strict=True))))
        return Page(**made[-1][1])

    page = Page.objects.create(text="text")
    monkeypatch.setattr(Page, "from_db", from_db)

    assert instances_of(instances, Page, is_stable=True, keys=[page.pk]) == [page]
    [(db, values)] = made
    assert (db, values["id"], values["text"]) == ("default", page.pk, "text")


@pytest.mark.parametrize(
    "more",
    [
        lambda pages: pages.select_related("owner"),
        lambda pages: pages.prefetch_related("editors"),
        lambda pages: pages.annotate(shout=Upper("text")),
        lambda pages: pages.only("text"),
        lambda pages: pages.defer("text"),
        lambda pages: pages.extra(select={"shout": "upper(text)"}),
        lambda pages: QuerySubclass(query=pages.query),
    ],
)
def test_whatever_else_a_queryset_gives_is_left_to_it(more):
    owner = User.objects.create(username="owner")
    page = Page.objects.create(text="text", owner=owner)

    def build(keys):
        return more(instances(Page, keys))

    assert not is_bare(build([page.pk]))
    for _ in range(2):
        [found], [expected] = instances_of(build, is_stable=True, keys=[page.pk]), build([page.pk])
        assert type(found) is type(expected)
        assert vars(found).keys() == vars(expected).keys()
        assert vars(found._state).keys() == vars(expected._state).keys()


def test_a_field_of_the_applications_that_writes_its_own_sql_is_read_by_it_each_time(monkeypatch):
    page, shown = Page.objects.create(text="text"), ["one"]

    class Tenant(type(Page._meta.get_field("text"))):
        def select_format(self, compiler, sql, params):
            return f"'{shown[-1]}'", []

    def build(keys):  # of which nothing is known yet
        return instances(Page, keys)

    monkeypatch.setattr(Page._meta.get_field("text"), "__class__", Tenant)
    for tenant in ("one", "other"):
        shown.append(tenant)
        [found] = instances_of(build, is_stable=True, keys=[page.pk])
        assert found.text == tenant


def test_what_is_known_of_related_objects_is_left_to_the_queryset():
    owner = User.objects.create(username="owner")
    page = Page.objects.create(owner=owner)

    def build(keys):
        return owner.page_set.filter(Among("pk", keys))

    [found] = instances_of(build, is_stable=True, keys=[page.pk])
    assert found.owner is owner


class QuerySubclass(QuerySet):
    """One of the application's."""


def test_instances_of_what_is_not_stable_are_looked_for_each_time(built):
    page = Page.objects.create()

    def build(keys):
        built.append(keys)
        return instances(Page, keys)

    for _ in range(3):
        assert instances_of(build, is_stable=False, keys=[page.pk]) == [page]
    assert built == [[page.pk]] * 3


# What may change between two times


def test_a_router_is_asked_each_time(build, settings):
    asked = []

    class Router:
        def db_for_read(self, model, **hints):
            asked.append(model)

    settings.DATABASE_ROUTERS = [Router()]

    for _ in range(3):
        rows_of(build, Page, ("pk",), is_stable=True, keys=[1])

    assert asked.count(Page) >= 3


def test_what_is_not_stable_is_built_each_time(build, built):
    for _ in range(3):
        rows_of(build, Page, ("pk",), is_stable=False, keys=[1])

    assert built == [Page] * 3


def test_only_djangos_own_managers_are_plain():
    assert is_plain(User._default_manager)
    assert is_plain(Group._default_manager)
    assert is_plain(Page._base_manager)
    assert not is_plain(type("Todays", (Manager,), {"get_queryset": lambda self: self.none()})())
    assert not is_plain(Manager.from_queryset(type("Hours", (QuerySet,), {}))())


def test_a_manager_with_a_method_put_on_it_is_not_plain():
    manager = Manager()
    manager.filter = lambda *args, **kwargs: []

    assert not is_plain(manager)
