"""The indexes on guardian's tables, with which it takes no longer to find who may see an object when there are more
other objects."""

from __future__ import annotations

from io import StringIO

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
from livegate.permissions.indexes import OBJECT, index_grants, is_missing
from livegate.permissions.rights import Rights
from livegate.permissions.viewers import Viewer

TABLES = (UserObjectPermission, GroupObjectPermission)
MANY = 20_000
User = get_user_model()


def by_object(model):
    """The names of the indexes by object on a table."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return [name for name, one in found.items() if one["columns"][:2] == ["content_type_id", "object_pk"]]


def migrate(**options):
    call_command("migrate", "auth", verbosity=0, **options)


@pytest.fixture
def bare():
    """Tables without an index by object, which have one again afterwards."""
    with connection.cursor() as cursor:
        for name in [name for model in TABLES for name in by_object(model)]:
            cursor.execute(f"DROP INDEX {name}")
    assert [by_object(model) for model in TABLES] == [[], []]
    yield
    migrate()
    assert all(map(by_object, TABLES))


@pytest.mark.django_db
def test_both_tables_of_grants_have_an_index_by_object():
    [of_users], [of_groups] = map(by_object, TABLES)
    assert of_users.startswith("livegate_by_object_")
    assert of_groups.startswith("livegate_by_object_")
    assert of_users != of_groups


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bare")
def test_whatever_is_migrated_adds_those_that_are_missing_and_says_so():
    said = StringIO()

    call_command("migrate", "auth", stdout=said)

    for model in TABLES:
        [name] = by_object(model)
        assert f"Adding the index {name} to {model._meta.db_table}" in said.getvalue()
    said.truncate(0)
    call_command("migrate", "auth", stdout=said)
    assert "index" not in said.getvalue()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bare")
def test_after_a_flush_which_has_no_plan_nothing_is_looked_for():
    index_grants("default", interactive=False)

    assert [by_object(model) for model in TABLES] == [[], []]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bare")
def test_one_of_another_name_is_enough():
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX ours ON guardian_groupobjectpermission (content_type_id, object_pk, id)")

    migrate()

    assert by_object(GroupObjectPermission) == ["ours"]
    assert len(by_object(UserObjectPermission)) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bare")
def test_one_by_the_kind_of_object_only_is_not():
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX theirs ON guardian_groupobjectpermission (content_type_id, id, object_pk)")
    try:
        migrate()
        assert len(by_object(GroupObjectPermission)) == 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX theirs")


class Elsewhere:
    """A router that has guardian's tables in another database."""

    def allow_migrate(self, db, app_label, **hints):
        return False if app_label == "guardian" else None


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bare")
def test_a_database_to_which_the_tables_do_not_belong_is_left_as_it_is():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django.db.router.routers", [Elsewhere()])
        migrate()
        assert [by_object(model) for model in TABLES] == [[], []]


@pytest.mark.django_db
@pytest.mark.parametrize("table", ["not_there", "auth_user"])
def test_a_table_that_is_not_there_or_is_not_yet_what_it_will_be_is_left_as_it_is(monkeypatch, table):
    monkeypatch.setattr(UserObjectPermission._meta, "db_table", table)

    assert not is_missing(connection, UserObjectPermission, OBJECT)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["user", "permission"])
def test_a_table_of_which_a_column_is_still_to_be_added_or_renamed_is_left_as_it_is(name):
    """SQLite would take a name that it does not know for a text, and could not rename the column any more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UserObjectPermission._meta.get_field(name), "column", "to_come")
        migrate()

    assert by_object(UserObjectPermission) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("bare")
def test_a_model_with_a_foreign_key_to_the_object_has_an_index_of_its_own():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("guardian.conf.settings.USER_OBJ_PERMS_MODEL", "lab.DirectUserPermission")
        migrate()

    assert by_object(UserObjectPermission) == []
    assert len(by_object(GroupObjectPermission)) == 1


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
    analyze()
    return page, [Viewer(user, "en-us", "UTC", "http", "testserver") for user in users[:1_000]]


def analyze():
    """Have PostgreSQL collect its statistics, as it does by itself sooner or later."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE")


def plan_of(viewers, pages):
    """How the database finds the rights of these viewers on these pages."""
    with CaptureQueriesContext(connection) as captured:
        rights = Rights(viewers, (Page, [page.pk for page in pages], ["view_page"]))
    assert rights.holding(rights.crowd.viewers, "view_page", pages[0]) == set(viewers)
    [query] = [one["sql"] for one in captured.captured_queries if "guardian_groupobjectpermission" in one["sql"]]
    return "\n".join(plan(query))


def searched_by(model, found):
    """By what the rows of a model are looked for in its index by object; PostgreSQL says so on the next line."""
    lines = found.splitlines()
    [place] = [place for place, line in enumerate(lines) if by_object(model)[0] in line]
    return "".join(lines[place : place + 2])


@pytest.mark.django_db
def test_rights_on_an_object_are_found_by_the_object_however_many_grants_on_others_there_are(crowded):
    page, viewers = crowded

    found = plan_of(viewers[:30], [page])

    # For the grants, and for who is a member of what holds one.
    assert found.count(by_object(GroupObjectPermission)[0]) == 2
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

    assert found.count(by_object(GroupObjectPermission)[0]) == 2
    assert found.count(by_object(UserObjectPermission)[0]) == 1
    assert "user_id" not in searched_by(UserObjectPermission, found)


@pytest.mark.django_db
def test_rights_of_few_are_looked_up_for_each_of_them_however_many_others_may_see_the_objects(crowded):
    page, viewers = crowded
    pages = [page, Page.objects.create()]
    grant = UserObjectPermission.objects.get(object_pk=page.pk)
    UserObjectPermission.objects.bulk_create(
        UserObjectPermission(user=user, permission=grant.permission, content_type=grant.content_type, object_pk=one.pk)
        for one in pages
        for user in User.objects.exclude(pk=grant.user.pk)
    )
    analyze()

    assert "user_id" in searched_by(UserObjectPermission, plan_of(viewers[:3], pages))
