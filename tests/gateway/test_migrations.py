"""The indexes on guardian's tables, with which it takes no longer to find who may see an object when there are more
other objects."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from guardian.models import GroupObjectPermission, UserObjectPermission
from guardian.shortcuts import assign_perm
from lab.models import Page
from ledgers import plan

from livegate.permissions.grants import WIDE
from livegate.permissions.rights import Rights
from livegate.permissions.viewers import Viewer

NAMES = {UserObjectPermission: "livegate_users_by_object", GroupObjectPermission: "livegate_groups_by_object"}
MANY = 20_000
User = get_user_model()


def columns_of_indexes():
    """Of ours, by the model that they are on."""
    with connection.cursor() as cursor:
        found = {model: connection.introspection.get_constraints(cursor, model._meta.db_table) for model in NAMES}
    return {model: found[model][name]["columns"] for model, name in NAMES.items() if name in found[model]}


def migrate(target=()):
    call_command("migrate", "livegate", *target, verbosity=0)


@pytest.fixture
def migrated_afterwards():
    yield
    migrate()
    assert columns_of_indexes().keys() == NAMES.keys()


@pytest.mark.django_db
def test_both_tables_of_grants_have_an_index_by_object():
    assert columns_of_indexes() == {model: ["content_type_id", "object_pk"] for model in NAMES}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("migrated_afterwards")
def test_what_is_migrated_back_takes_them_away():
    migrate(["zero"])
    assert columns_of_indexes() == {}
    migrate(["zero"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("migrated_afterwards")
def test_one_that_was_made_before_is_left_as_it_is():
    migrate(["zero"])
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE INDEX livegate_groups_by_object ON guardian_groupobjectpermission (content_type_id, object_pk, id)"
        )

    migrate()

    assert columns_of_indexes() == {
        UserObjectPermission: ["content_type_id", "object_pk"],
        GroupObjectPermission: ["content_type_id", "object_pk", "id"],
    }
    migrate(["zero"])
    assert columns_of_indexes() == {}


class Elsewhere:
    """A router that has guardian's tables in another database."""

    def allow_migrate(self, db, app_label, **hints):
        return False if app_label == "guardian" else None


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("migrated_afterwards")
def test_a_database_to_which_the_tables_do_not_belong_is_left_as_it_is(settings):
    migrate(["zero"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.db.router.routers", [Elsewhere()])
        migrate()
        assert columns_of_indexes() == {}
        migrate(["zero"])


@pytest.fixture
def crowded():
    """A page that a group may see, and its viewers, beside very many other grants of the same on pages, and members of
    the group. Of the other permissions there are few grants, and the other groups are small: so these look on average.
    """
    crowd, *others = Group.objects.bulk_create(Group(name=str(number)) for number in range(1_001))
    users = User.objects.bulk_create(User(username=str(number)) for number in range(3_000))
    membership = User.groups.through
    pairs = [(user, group) for place, user in enumerate(users) for group in (crowd, others[place % len(others)])]
    membership.objects.bulk_create(membership(user=user, group=group) for user, group in pairs)
    page = Page.objects.create()
    assign_perm("view_page", crowd, page)
    assign_perm("view_page", users[0], page)
    of_group, of_user = GroupObjectPermission.objects.get(), UserObjectPermission.objects.get()
    copies = [(GroupObjectPermission, of_group, "group", others), (UserObjectPermission, of_user, "user", users)]
    for model, grant, to, holders in copies:
        permissions = [*[grant.permission] * MANY, *Permission.objects.exclude(pk=grant.permission.pk)]
        model.objects.bulk_create(
            model(
                permission=permission,
                content_type=grant.content_type,
                object_pk=f"other {number}",
                **{to: holders[number % len(holders)]},
            )
            for number, permission in enumerate(permissions)
        )
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")
    return page, [Viewer(user, "en-us", "UTC", "http", "testserver") for user in users[:1_000]]


def plan_of(viewers, pages):
    """How the database finds the rights of these viewers on these pages."""
    with CaptureQueriesContext(connection) as captured:
        rights = Rights(viewers, (Page, [page.pk for page in pages], ["view_page"]))
    assert rights.holding(rights.crowd.viewers, "view_page", pages[0]) == set(viewers)
    [query] = [one["sql"] for one in captured.captured_queries if "guardian_groupobjectpermission" in one["sql"]]
    return "\n".join(plan(query))


@pytest.mark.django_db
def test_rights_on_an_object_are_found_by_the_object_however_many_grants_on_others_there_are(crowded):
    page, viewers = crowded

    found = plan_of(viewers[:30], [page])

    assert found.count(NAMES[GroupObjectPermission]) == 2  # for the grants, and for who is a member of what holds one
    # Nor is a table gone through, nor are all members of the group.
    assert "Seq Scan on guardian" not in found
    assert "Seq Scan on auth_user_groups" not in found
    assert "auth_user_groups_group_id" not in found


@pytest.mark.django_db
def test_rights_of_many_on_many_objects_are_found_by_the_objects_and_not_for_each_of_both(crowded):
    page, viewers = crowded
    pages = [page, *Page.objects.bulk_create(Page() for _ in range(WIDE // len(viewers)))]  # few, of so many
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # of so small a table

    found = plan_of(viewers, pages)

    assert found.count(NAMES[GroupObjectPermission]) == 2
    assert found.count(NAMES[UserObjectPermission]) == 1
