"""Grants: what is asked of the database is the same each time, what it answers is of the moment."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection, models
from django.db.models import Manager
from django.test.utils import CaptureQueriesContext, isolate_apps
from guardian.ctypes import get_content_type
from guardian.models.models import GroupObjectPermissionAbstract
from guardian.shortcuts import assign_perm
from guardian.utils import get_group_obj_perms_model, get_user_obj_perms_model
from lab.models import DirectGroupPermission, DirectlyGranted, Document, Page

from livegate.permissions import grants, queries
from livegate.permissions.aggregates import listed
from livegate.permissions.grants import (
    GROUP,
    HOLDERS,
    MEMBERS,
    SUPERUSERS,
    USERS,
    Sought,
    groups_of_users,
    is_alike,
    members_of,
    read,
)
from livegate.permissions.rights import Rights

pytestmark = pytest.mark.django_db
User = get_user_model()


class Todays(Manager):
    """Gives the rows whose names are ``present``."""

    def __init__(self, model, name):
        super().__init__()
        self.model, self.name, self.present = model, name, []

    def get_queryset(self):
        return super().get_queryset().filter(**{f"{self.name}__in": self.present})


class Everybody(Manager):
    """Gives all rows, as may not be known of it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def get_queryset(self):
        return super().get_queryset()


@pytest.fixture(params=["few by few", "many by many"], autouse=True)
def width(request, monkeypatch):
    """The same is found, in whichever way."""
    if request.param == "many by many":
        monkeypatch.setattr(grants, "WIDE", -1)


def found(sought, **asked):
    """What was found, by kind."""
    rows = read(sought, **asked)
    assert {kind for kind, *_ in rows} <= {HOLDERS, GROUP, MEMBERS, USERS, SUPERUSERS}
    return {kind: [row for row in rows if row[0] == kind] for kind in range(5)}


def told(rows):
    return [[*row[:-1], listed(row[-1] or ())] for kind in sorted(rows) for row in rows[kind]]


def keys_in(rows):
    return {key for *_, keys in rows for key in listed(keys)}


def test_accounts_are_told_apart_by_whether_they_are_superusers():
    names = ["ordinary", "super", "inactive", "elsewhere"]
    ordinary, superuser, inactive, _ = (User.objects.create(username=name) for name in names)
    User.objects.filter(pk=superuser.pk).update(is_superuser=True)
    User.objects.filter(pk=inactive.pk).update(is_active=False)

    rows = found(Sought(User), users=[ordinary.pk, superuser.pk, inactive.pk, 77_777])

    assert [keys_in(rows[kind]) for kind in (USERS, SUPERUSERS)] == [{ordinary.pk}, {superuser.pk}]
    assert not any(rows[kind] for kind in (HOLDERS, GROUP, MEMBERS))


@pytest.fixture
def page_in_groups():
    """A page that the first of two groups may see, and the first of three users."""
    groups = [Group.objects.create(name=str(number)) for number in range(2)]
    users = [User.objects.create(username=str(number)) for number in range(3)]
    groups[0].user_set.set(users[1:])
    groups[1].user_set.set(users)
    page = Page.objects.create()
    assign_perm("view_page", groups[0], page)
    assign_perm("change_page", groups[1], Page.objects.create())
    assign_perm("view_page", users[0], page)
    return page, users


def sought_on(model, **options):
    models = get_user_obj_perms_model(model), get_group_obj_perms_model(model)
    return Sought(None, *models, get_content_type(model).pk, groups=groups_of_users(), **options)


def test_members_are_those_of_the_groups_that_hold_something(page_in_groups):
    page, users = page_in_groups

    rows = found(sought_on(Page), keys=[page.pk], users=[users[0].pk, users[1].pk])

    [(_, _, codename, group, _)] = rows[GROUP]
    assert codename == "view_page"
    [(_, _, _, members_group, members)] = rows[MEMBERS]
    assert (members_group, listed(members)) == (group, [users[1].pk])
    [(_, _, codename, _, holders)] = rows[HOLDERS]
    assert (codename, listed(holders)) == ("view_page", [users[0].pk])


def test_of_several_objects_it_is_told_which_one_each_grant_is_on(page_in_groups):
    page, users = page_in_groups
    other = Page.objects.exclude(pk=page.pk).get()
    assign_perm("view_page", users[0], other)

    rows = found(sought_on(Page), keys=[page.pk, other.pk], users=[users[0].pk])

    assert sorted(row[1:3] for row in rows[GROUP]) == [[str(page.pk), "view_page"], [str(other.pk), "change_page"]]
    assert sorted(row[1:3] for row in rows[HOLDERS]) == [[str(one.pk), "view_page"] for one in (page, other)]


@pytest.mark.parametrize(("codenames", "kinds"), [(["view_page"], 3), (["change_page"], 0)])
def test_only_the_codenames_that_are_asked_about_are_told(page_in_groups, codenames, kinds):
    page, users = page_in_groups
    keys = [user.pk for user in users]

    rows = found(sought_on(Page, codenames=frozenset(codenames)), keys=[page.pk], users=keys)

    assert sum(map(bool, rows.values())) == kinds


@pytest.mark.parametrize(("keys", "users"), [([], [1]), ([1], []), ([], [])])
def test_nobody_holds_anything_on_nothing(page_in_groups, keys, users):
    rows = found(sought_on(Page), keys=keys, users=users)

    assert not any(rows[kind] for kind in (HOLDERS, MEMBERS))


def test_members_are_told_by_group(page_in_groups):
    _, users = page_in_groups

    members = members_of([users[0].pk, users[1].pk])

    assert sorted(sorted(listed(keys)) for keys in members.values()) == [[users[0].pk, users[1].pk], [users[1].pk]]
    assert members_of([]) == {}


def test_users_of_a_model_without_groups_are_in_none(page_in_groups, monkeypatch):
    page, users = page_in_groups
    monkeypatch.setattr(grants, "get_user_model", lambda: Page)

    rows = found(sought_on(Page), keys=[page.pk], users=[users[1].pk])

    assert members_of([1]) == {}
    assert rows[GROUP]
    assert not rows[MEMBERS]


@pytest.mark.parametrize("reason", ["the manager of the groups", "another kind of grants", "another database"])
def test_what_one_query_can_not_give_is_asked_for_in_several(page_in_groups, reason, monkeypatch):
    page, users = page_in_groups
    sought = replace(sought_on(Page), accounts=User)
    whole = found(sought, keys=[page.pk], users=[users[0].pk, users[1].pk])
    if reason == "the manager of the groups":
        monkeypatch.setitem(vars(Group._meta), "default_manager", Everybody(Group))
    elif reason == "another database":
        managers = [SimpleNamespace(db="default"), SimpleNamespace(db="other")]
        monkeypatch.setattr(Sought, "managers", managers)
        monkeypatch.setattr(grants, "is_plain", lambda manager: True)
    else:
        sought = replace(sought, to_groups=DirectGroupPermission)

    with CaptureQueriesContext(connection) as asked:
        apart = found(sought, keys=[page.pk], users=[users[0].pk, users[1].pk])

    assert len(asked) == 4
    expected = {**whole, GROUP: [], MEMBERS: []} if reason == "another kind of grants" else whole
    assert told(apart) == told(expected)


@isolate_apps("lab")
def test_one_query_gives_only_what_has_the_same_type():
    class OtherKeys(GroupObjectPermissionAbstract):
        """Names objects by something else than guardian's own text."""

        object_pk = models.UUIDField()

        class Meta(GroupObjectPermissionAbstract.Meta):
            app_label = "lab"
            abstract = False

    class Circle(models.Model):
        key = models.UUIDField(primary_key=True)

        class Meta:
            app_label = "lab"

    class Insider(models.Model):
        groups = models.ManyToManyField(Circle)

        class Meta:
            app_label = "lab"

    whole = sought_on(Page)
    assert is_alike(whole)
    assert is_alike(Sought(User))
    assert is_alike(sought_on(DirectlyGranted))
    assert not is_alike(replace(whole, to_groups=OtherKeys))
    assert not is_alike(replace(whole, to_groups=DirectGroupPermission))
    assert not is_alike(replace(whole, groups=Insider._meta.get_field("groups")))


def test_groups_of_another_kind_than_guardians_hold_nothing(page_in_groups, monkeypatch):
    """Of which a database could only say that their keys can't be compared."""
    page, users = page_in_groups
    keys = {"keys": [page.pk], "users": [user.pk for user in users]}
    expected = told(found(sought_on(Page), **keys))
    monkeypatch.setattr(grants, "is_alike", lambda sought: False)

    with CaptureQueriesContext(connection) as asked:
        assert told(found(sought_on(Page), **keys)) == expected

    tables = [query["sql"].count("guardian_groupobjectpermission") > 0 for query in asked]
    assert tables == [False, True, False]  # whose members are asked for is no matter of the other tables


@pytest.mark.parametrize("way", ["group", "user", "grant"])
def test_rights_from_a_manager_of_the_applications_are_those_of_the_moment(viewer, way, monkeypatch):
    """It may leave out what has expired: what it left out before, or did not, tells nothing."""
    user, group = User.objects.create(username="somebody"), Group.objects.create(name="somebody")
    user.groups.add(group)
    page = Page.objects.create()
    row = assign_perm("view_page", group if way == "group" else user, page)
    model, manager, name = {
        "group": (Group, "default_manager", "name"),
        "user": (User, "default_manager", "username"),
        "grant": (type(row), "base_manager", "user__username"),
    }[way]
    todays = Todays(model, name)
    monkeypatch.setitem(vars(model._meta), manager, todays)
    watching = viewer(user)

    def may_see():
        rights = Rights([watching])
        rights.read(Page, [page.pk], {"view_page"})
        return watching in rights.crowd.keys and watching in rights.holding({watching}, "lab.view_page", page)

    seen = []
    for there in (["somebody"], [], ["somebody"], []):
        todays.present = there
        seen.append(may_see())

    assert seen == [True, False, True, False]


class Narrowed(Manager):
    """Gives the rows for which this SQL is true."""

    def __init__(self, model, sql):
        super().__init__()
        self.model = model
        self._sql = sql

    def get_queryset(self):
        return super().get_queryset().extra(where=[self._sql])


# The columns of SQLite's json_each.
COLUMNS = ("key", "value", "type", "atom", "id", "parent", "fullkey", "path", "json", "root")


@pytest.mark.parametrize("way", ["group", "user", "grant"])
@pytest.mark.parametrize("sql", ["id > 0", "{row} > 0", "{name} NOT IN ({texts})"])
def test_sql_of_the_applications_means_what_it_means_for_one_viewer_alone(viewer, way, sql, monkeypatch):
    """What is beside its table is not seen in it: neither is a name ambiguous, nor does SQLite, to which what is in
    double quotes is a text where there is no such column, find one."""
    names = ["ann", *COLUMNS] if "texts" in sql else ["ann", "bea"]
    quote, row_id = ('"', "rowid") if connection.vendor == "sqlite" else ("'", "id")
    texts = ", ".join(f"{quote}{name}{quote}" for name in COLUMNS if name != "id" or quote == "'")
    page = Page.objects.create()
    viewers = [viewer(User.objects.create(username=name)) for name in names]
    for one in viewers:
        group = Group.objects.create(name=one.user.username)
        one.user.groups.add(group)
        row = assign_perm("view_page", group if way == "group" else one.user, page)
    model, manager, name = {
        "group": (Group, "default_manager", "name"),
        "user": (User, "default_manager", "username"),
        "grant": (type(row), "base_manager", "object_pk"),
    }[way]
    monkeypatch.setitem(vars(model._meta), manager, Narrowed(model, sql.format(row=row_id, name=name, texts=texts)))

    def may_see(*asking):
        rights = Rights(asking, (Page, [page.pk], {"view_page"}))
        return set(rights.holding(rights.crowd.viewers, "lab.view_page", page))

    assert may_see(*viewers) == set().union(*map(may_see, viewers)) != set()


def test_rights_are_read_by_the_same_sql_for_any_viewers_and_objects(viewer):
    users = [User.objects.create(username=str(number)) for number in range(5)]
    pages = [Page.objects.create() for _ in range(3)]
    queries.query_of.cache_clear()

    for some, about in ((users, pages), (users[:1], pages[:1]), ([], [])):
        with CaptureQueriesContext(connection) as asked:
            Rights(viewer(user) for user in some).read(Page, [page.pk for page in about], {"view_page"})
        assert len(asked) == 2

    assert queries.query_of.cache_info().misses == 4  # of one viewer or many, and of one page or many


@pytest.mark.parametrize("model", [Page, Document, DirectlyGranted])
def test_rights_are_those_of_the_moment_each_time(viewer, model):
    user, group = User.objects.create(username="somebody"), Group.objects.create(name="group")
    perm, instance, watching = f"lab.view_{model._meta.model_name}", model.objects.create(), viewer(user)
    assign_perm(perm, group, instance)

    def may_see():
        rights = Rights([watching])
        rights.read(model, [instance.pk], {perm.partition(".")[2]})
        return bool(rights.holding({watching}, perm, instance))

    assert not may_see()
    for groups in ([group], [], [group]):
        user.groups.set(groups)
        assert may_see() is bool(groups)
    group.delete()
    assert not may_see()
    assign_perm(perm, user, instance)
    assert may_see()


def test_sqlite_finds_memberships_by_the_users_and_not_by_the_groups(page_in_groups):
    """It would look at all members of a group, for it knows nothing of how many there are."""
    page, users = page_in_groups
    asked = {"users": [user.pk for user in users[:2]], "keys": [str(page.pk)], "keys_of_groups": [str(page.pk)]}

    members = grants.part(sought_on(Page), MEMBERS, **asked)

    groups = {row[3] for row in read(sought_on(Page), [page.pk], asked["users"])} - {None}
    for rows in (members, grants.part(sought_on(Page), MEMBERS, **asked, groups=groups)):
        assert connection.vendor != "sqlite" or "(user_id=?)" in rows.explain()
