"""Grants: what is asked of the database is the same each time, what it answers is of the moment."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Manager
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm
from lab.models import DirectlyGranted, Document, Page

from livegate.permissions import grants, queries
from livegate.permissions.grants import accounts, members_of
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


def test_accounts_are_told_apart_by_whether_they_are_superusers():
    names = ["ordinary", "super", "inactive", "elsewhere"]
    ordinary, superuser, inactive, _ = (User.objects.create(username=name) for name in names)
    User.objects.filter(pk=superuser.pk).update(is_superuser=True)
    User.objects.filter(pk=inactive.pk).update(is_active=False)

    found = accounts(User, [ordinary.pk, superuser.pk, inactive.pk, 77_777])

    assert found == {True: [superuser.pk], False: [ordinary.pk]}


def test_members_are_those_of_the_groups_that_are_asked_about():
    groups = [Group.objects.create(name=str(number)) for number in range(2)]
    users = [User.objects.create(username=str(number)) for number in range(3)]
    groups[0].user_set.set(users)
    groups[1].user_set.set(users[:1])

    assert members_of([users[0].pk], [groups[1].pk]) == {groups[1].pk: [users[0].pk]}
    assert members_of([users[0].pk, users[1].pk]).keys() == {groups[0].pk, groups[1].pk}
    assert members_of([], [groups[0].pk]) == members_of([users[0].pk], []) == {}


def test_users_of_a_model_without_groups_are_in_none(monkeypatch):
    monkeypatch.setattr(grants, "get_user_model", lambda: Page)

    assert members_of([1]) == members_of([1], [1]) == {}


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
        return watching in rights.keys and watching in rights.holding({watching}, "lab.view_page", page)

    seen = []
    for there in (["somebody"], [], ["somebody"], []):
        todays.present = there
        seen.append(may_see())

    assert seen == [True, False, True, False]


def test_rights_are_read_by_the_same_sql_for_any_viewers_and_objects(viewer):
    users = [User.objects.create(username=str(number)) for number in range(5)]
    pages = [Page.objects.create() for _ in range(3)]
    queries.query_of.cache_clear()

    for some, about in ((users, pages), (users[:1], pages[:1]), ([], [])):
        with CaptureQueriesContext(connection) as asked:
            Rights(viewer(user) for user in some).read(Page, [page.pk for page in about], {"view_page"})
        assert len(asked) == 4

    assert queries.query_of.cache_info().misses == 8  # four for one key, and four for any other number


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
