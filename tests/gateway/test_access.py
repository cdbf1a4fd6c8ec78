"""Access: whatever changes who may see what is told, by the narrowest notice, and reaches who is connected."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user_model, login
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.contenttypes.fields import GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.http import HttpRequest
from django.test import Client as Browser
from guardian.shortcuts import assign_perm, remove_perm
from guardian.utils import get_anonymous_user
from lab.models import Document, Foreign, ForeignProxy, Page
from lab.serializers import plain

from livegate.gateway import access
from livegate.gateway.access import EVERYBODY, aaccess_changed, access_changed
from livegate.gateway.courier import courier
from livegate.gateway.notices import Notice, token_of_session, token_of_user
from livegate.permissions import is_owner, same_tenant
from livegate.serializers.hashids import encode

User = get_user_model()


@pytest.fixture
def told(monkeypatch):
    """The notices that would be posted."""
    seen = []
    monkeypatch.setattr(access, "post_after_commit", lambda notices, using: seen.extend(notices))
    monkeypatch.setattr(courier, "post", lambda notices, more=False: seen.extend(notices))
    return seen


@pytest.fixture
def user(db):
    return User.objects.create(username="somebody")


@pytest.fixture
def group(db):
    return Group.objects.create(name="some")


@pytest.fixture
def page(db):
    return Page.objects.create()


def about(instance, user=None):
    token = token_of_user(user.pk) if user else ""
    return Notice("access", instance._meta.label, encode(type(instance), instance.pk), token)


def of(*users):
    return [Notice("access", token=token_of_user(user.pk)) for user in users]


# Grants of guardian's


def test_a_grant_to_a_user_and_its_removal_are_told_to_them_about_the_object(page, user, told):
    assign_perm("lab.view_page", user, page)
    assert told == [about(page, user)]
    assign_perm("lab.view_page", user, page)
    assert told == [about(page, user)]
    remove_perm("lab.view_page", user, page)
    assert told == [about(page, user)] * 2


def test_a_grant_to_a_group_and_its_removal_are_told_to_all_who_watch_the_object(page, group, told):
    assign_perm("lab.view_page", group, page)
    remove_perm("lab.view_page", group, page)

    assert told == [about(page)] * 2


def test_grants_in_tables_of_their_own_are_told_as_others(user, group, told):
    document = Document.objects.create()
    assign_perm("lab.view_document", user, document)
    assign_perm("lab.view_document", group, document)
    remove_perm("lab.view_document", user, document)

    assert told == [about(document, user), about(document), about(document, user)]


def test_what_is_removed_with_its_user_its_group_or_its_permission_is_told(page, user, group, told):
    assign_perm("lab.view_page", user, page)
    assign_perm("lab.view_page", group, page)
    told.clear()
    group.delete()
    assert set(told) == {about(page), *EVERYBODY}
    told.clear()
    Permission.objects.get(codename="view_page").delete()
    assert set(told) == {about(page, user), *EVERYBODY}


def test_a_grant_on_what_is_not_published_by_itself_is_told_to_its_user_who_may_see_it_in_something_else(
    user, group, told
):
    assign_perm("auth.view_group", user, group)
    remove_perm("auth.view_group", user, group)
    assert told == of(user) * 2
    told.clear()
    assign_perm("auth.view_group", group, group)

    assert told == []


def test_what_is_deleted_with_deferred_fields_is_told(page, user, told):
    assign_perm("lab.view_page", user, page)
    told.clear()
    assert type(user.userobjectpermission_set.get()).objects.only("pk").delete()[0]
    assert told == EVERYBODY
    told.clear()
    expected = of(user)
    User.objects.only("pk").filter(pk=user.pk).delete()
    assert told == expected


def test_who_saves_pays_no_query_for_what_was_deferred(user, told, django_assert_num_queries):
    again = User.objects.only("pk", "is_active").get(pk=user.pk)
    with django_assert_num_queries(1):
        again.save(update_fields=["is_active"])

    assert told == of(user)


def test_proxies_and_models_below_send_signals_of_their_own():
    assert set(access.kinds_of(Foreign)) >= {Foreign, ForeignProxy}


def test_a_user_of_a_model_below_is_told_by_the_key_of_the_user(told):
    class Clerk(User):
        """Has a key of its own beside."""

        class Meta:
            app_label = "lab"
            proxy = True

    clerk = Clerk(pk=7)
    assert access.about_user(clerk) == [Notice("access", token=token_of_user(7))]


def test_a_grant_that_is_left_over_from_a_model_that_is_gone_is_told_to_nobody(page, user, told, caplog):
    assign_perm("lab.view_page", user, page)
    told.clear()
    row = user.userobjectpermission_set.get()
    row.content_type.app_label = "gone"
    row.content_type.save()
    type(row.content_type).objects.clear_cache()
    row.delete()

    assert told == []
    assert caplog.records == []


# Groups and permissions on models


def test_members_who_come_and_go_are_told_from_either_side(user, group, told):
    other = User.objects.create(username="other")
    user.groups.add(group)
    assert told == of(user)
    user.groups.remove(group)
    assert told == of(user) * 2
    told.clear()
    user.groups.set([group])
    user.groups.clear()
    assert told == of(user) * 2
    told.clear()
    group.user_set.add(user, other)
    assert sorted(told, key=str) == sorted(of(user, other), key=str)
    told.clear()
    group.user_set.remove(other)
    assert told == of(other)
    told.clear()
    group.user_set.add(user)
    assert told == []
    group.user_set.clear()
    assert told == EVERYBODY


def test_guardians_anonymous_user_in_a_group_stands_for_all_who_are_anonymous(group, told):
    group.user_set.add(get_anonymous_user())

    assert told == EVERYBODY


def test_of_many_members_one_notice_is_given_to_all(group, told, monkeypatch):
    monkeypatch.setattr(access, "MOST_USERS", 2)
    users = User.objects.bulk_create(User(username=f"u{number}") for number in range(3))
    group.user_set.add(*users)

    assert told == EVERYBODY


def test_permissions_on_models_are_told_to_the_user_or_to_all(user, group, told):
    permission = Permission.objects.get(codename="view_page")
    user.user_permissions.add(permission)
    user.user_permissions.clear()
    assert told == of(user) * 2
    told.clear()
    permission.user_set.add(user)
    assert told == of(user)
    told.clear()
    group.permissions.add(permission)
    group.permissions.clear()
    assert told == EVERYBODY * 2
    told.clear()
    group.delete()
    assert told == EVERYBODY


# What permissions follow from a user


def test_rows_by_which_a_permission_goes_on_from_a_user_are_told_to_that_user(demo, told):
    membership = demo.cleo.memberships.get()
    membership.save()
    assert told == of(demo.cleo)
    told.clear()
    membership.delete()
    assert told == of(demo.cleo)


def test_a_relation_that_is_declared_at_the_other_side_is_told_to_its_users(user, page, told, republish):
    republish(Page, plain(Page, "text"), to=same_tenant("text", "edited_pages__text"))
    page.editors.add(user)
    page.editors.clear()
    user.edited_pages.add(page)

    assert [notice for notice in told if notice.token] == of(user) * 2
    assert EVERYBODY[0] in told


def test_who_comes_to_an_instance_by_a_relation_that_a_permission_follows_is_told(user, page, told, republish):
    republish(Page, plain(Page, "text"), to=is_owner("editors"))
    page.editors.add(user)
    page.editors.clear()
    user.edited_pages.add(page)
    assert [notice for notice in told if notice.label == "lab.Page"] == [about(page)] * 3
    told.clear()
    user.edited_pages.clear()
    assert EVERYBODY[0] in told


def test_the_same_from_the_other_side_of_the_relation(user, page, told, republish):
    republish(User, plain(User, "username"), to=is_owner("edited_pages__owner"))
    page.editors.add(user)
    user.edited_pages.remove(page)

    assert [notice for notice in told if notice.label == "auth.User"] == [about(user)] * 2


def test_a_generic_relation_is_no_row_that_holds_a_user(republish):
    relation = GenericRelation(ContentType, object_id_field="id", content_type_field="id", related_query_name="+")
    relation.contribute_to_class(User, "tags")
    try:
        republish(Page, plain(Page, "text"), to=same_tenant("text", "tags__model"))
    finally:
        User._meta.private_fields.remove(relation)
        del User.tags
        User._meta._expire_cache()


def test_a_row_that_holds_no_user_is_told_to_nobody(told):
    assert access.about_users([None]) == []


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("groups__name", lambda user, group: user.groups.add(group)),
        ("username", lambda user, group: user.save()),
        ("a_property", lambda user, group: user.save()),
    ],
)
def test_what_else_a_permission_follows_is_told_once(user, group, told, republish, path, change):
    republish(Page, plain(Page, "text"), to=same_tenant("text", path))
    change(user, group)

    assert told == of(user)


# Users and sessions


def test_a_save_of_a_user_is_told_but_for_a_log_in(user, told):
    user.is_active = False
    user.save()
    assert told == of(user)
    user.save(update_fields=["is_superuser", "last_login"])
    assert told == of(user) * 2
    told.clear()
    user.save(update_fields=["last_login"])
    User.objects.create(username="new")
    assert told == []


def test_a_user_who_is_deleted_is_told(user, told):
    expected = of(user)
    user.delete()

    assert told == expected


def test_what_concerns_guardians_anonymous_user_concerns_all_who_are_anonymous(told, db):
    anonymous = get_anonymous_user()
    anonymous.save()

    assert told == EVERYBODY


def test_a_log_out_is_told_of_the_session_that_never_is_named(user, told):
    browser = Browser()
    browser.force_login(user)
    key = browser.session.session_key
    told.clear()
    browser.logout()

    assert told == [Notice("logout", token=token_of_session(key))]
    assert key not in repr(told)


def test_who_logs_in_anew_ends_the_session_that_the_request_came_with(user, told):
    browser = Browser()
    browser.force_login(User.objects.create(username="before"))
    key = browser.session.session_key
    request = HttpRequest()
    request.session, request.COOKIES = browser.session, {settings.SESSION_COOKIE_NAME: key}
    told.clear()
    user_logged_in.send(sender=User, request=request, user=user)
    assert told == []
    login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])

    assert told == [Notice("logout", token=token_of_session(key))]
    user_logged_in.send(sender=User, request=None, user=user)
    assert len(told) == 1


@pytest.mark.parametrize("request_of", [None, object()])
def test_a_log_out_of_no_session_is_told_to_nobody(told, request_of, user):
    user_logged_out.send(sender=User, request=request_of, user=user)

    assert told == []


# What an application tells


def test_what_no_signal_tells_can_be_told(user, group, page, told):
    access_changed(user=user)
    assert told == of(user)
    told.clear()
    access_changed(instance=page)
    assert told == [about(page)]
    told.clear()
    access_changed(user=user, instance=page)
    assert told == [about(page, user)]
    told.clear()
    access_changed(group=group)
    assert told == EVERYBODY
    told.clear()
    access_changed(group=group, instance=page)
    assert told == EVERYBODY
    told.clear()
    access_changed(instance=group)
    assert told == []
    access_changed(user=get_anonymous_user())
    assert told == EVERYBODY


@pytest.mark.parametrize(
    ("named", "error"),
    [
        ({}, TypeError),
        ({"user": "somebody"}, TypeError),
        ({"instance": 1}, TypeError),
        ({"user": AnonymousUser()}, TypeError),
        ({"user": Page(pk=1)}, TypeError),
        ({"user": User()}, ValueError),
        ({"instance": Page()}, ValueError),
        ({"group": Group()}, ValueError),
    ],
)
def test_what_is_no_user_group_or_instance_raises(named, error):
    with pytest.raises(error, match="access_changed"):
        access_changed(**named)


@pytest.mark.django_db(transaction=True)
def test_it_is_told_after_the_commit_and_not_after_a_rollback(monkeypatch):
    posted = []
    monkeypatch.setattr(courier, "post", lambda notices, more: posted.extend(notices))
    user, page = User.objects.create(username="somebody"), Page.objects.create()
    posted.clear()
    with transaction.atomic():
        assign_perm("lab.view_page", user, page)
        assert posted == []
    assert posted == [about(page, user)]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        user.groups.add(Group.objects.create(name="some"))
        access_changed(user=user)
        1 / 0  # noqa: B018

    assert posted == [about(page, user)]


def test_no_error_of_ours_reaches_the_one_who_saves(page, user, monkeypatch, caplog):
    def fail(model):
        raise RuntimeError("the secret")

    monkeypatch.setattr(access, "relatives", fail)
    assign_perm("lab.view_page", user, page)

    assert [record.event for record in caplog.records] == ["notices_widened"]
    assert "secret" not in caplog.text


def test_a_notice_that_can_not_be_given_does_not_fail_the_save(page, user, monkeypatch, caplog):
    def fail(notices, using):
        raise RuntimeError("the secret")

    monkeypatch.setattr(access, "post_after_commit", fail)
    assign_perm("lab.view_page", user, page)

    assert [record.event for record in caplog.records] == ["notices_lost"]
    assert "secret" not in caplog.text


def test_a_user_model_without_groups_is_watched_all_the_same(user, told, monkeypatch):
    assert access.field_of(Page, "nothing") is access.field_of(Page, "text") is None
    monkeypatch.setattr(access, "field_of", lambda model, name: None)
    access.watch_access()
    user.save()

    assert told == of(user)


def test_the_rows_of_a_relation_that_are_of_a_model_of_the_applications_are_told_of(demo, told):
    through = demo.cleo.memberships.model
    access.watch_relation(SimpleNamespace(remote_field=SimpleNamespace(through=through), m2m_field_name=lambda: "user"))
    demo.cleo.memberships.get().save()

    assert told == of(demo.cleo)


def test_of_very_many_users_all_are_told(monkeypatch):
    monkeypatch.setattr(access, "MOST_USERS", 1)

    assert access.about_users([1, 2]) == EVERYBODY


# What reaches who is connected


def named(instance):
    return {"model": instance._meta.label, "id": encode(type(instance), instance.pk)}


async def test_a_view_grows_and_shrinks_with_the_rights_and_ends_with_the_last(demo, connect):
    client = await connect(demo.cleo)
    shown = await client.ask({**named(demo.card), "action": "subscribe", "etag": None})
    assert "salary" not in shown["payload"]

    await sync_to_async(assign_perm)("board.view_salary", demo.cleo, demo.card)
    assert (await client.receive())["payload"]["salary"] == demo.card.salary
    await sync_to_async(remove_perm)("board.view_salary", demo.cleo, demo.card)
    assert "salary" not in (await client.receive())["payload"]
    await client.nothing()


async def test_what_a_group_is_granted_reaches_its_members_and_nobody_else(demo, connect):
    group = await sync_to_async(Group.objects.create)(name="payroll")
    await sync_to_async(demo.cleo.groups.add)(group)
    client, other = await connect(demo.cleo), await connect(demo.ben)
    for one in (client, other):
        await one.ask({**named(demo.card), "action": "subscribe", "etag": None})

    await sync_to_async(assign_perm)("board.view_salary", group, demo.card)
    assert "salary" in (await client.receive())["payload"]
    await sync_to_async(group.delete)()
    assert "salary" not in (await client.receive())["payload"]
    await other.nothing()


async def test_what_was_granted_in_bulk_is_shown_when_it_is_told(demo, connect):
    client = await connect(demo.cleo)
    await client.ask({**named(demo.card), "action": "subscribe", "etag": None})

    await sync_to_async(assign_perm)("board.view_salary", demo.cleo, type(demo.card).objects.all())
    await client.nothing()
    await aaccess_changed(instance=demo.card)
    assert "salary" in (await client.receive())["payload"]


async def test_a_subscription_that_was_refused_is_not_remembered_when_the_right_comes(demo, connect):
    page = await sync_to_async(Page.objects.create)()
    client = await connect(demo.ben)
    refused = await client.ask({**named(page), "action": "subscribe", "request_id": 1})
    assert refused["payload"]["code"] == "not_found"

    await sync_to_async(assign_perm)("lab.view_page", demo.ben, page)
    await client.nothing()
    assert (await client.ask({**named(page), "action": "subscribe", "request_id": 2}))["type"] == "SUBSCRIBED"
