"""Rights in bulk: for every user and object what ``user.has_perm`` says, in a constant number of queries."""

from __future__ import annotations

import random

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test.utils import CaptureQueriesContext
from guardian.exceptions import WrongAppError
from guardian.models import UserObjectPermission
from guardian.shortcuts import assign_perm
from lab.models import DirectlyGranted, Document, Foreign, ForeignProxy, Page

from livegate.permissions import rights as rights_module
from livegate.permissions.rights import Rights

pytestmark = pytest.mark.django_db
User = get_user_model()

MODELS = {Page: "lab.view_page", Document: "lab.view_document", DirectlyGranted: "lab.view_directlygranted"}


def fresh(*users):
    """The same users as new instances, that remember nothing."""
    return [AnonymousUser() if user.pk is None else User.objects.get(pk=user.pk) for user in users]


@pytest.fixture
def world():
    """Some dice; users of every kind, groups, and objects with integer and UUID keys, granted by table or directly."""
    dice = random.Random(7)
    groups = [Group.objects.create(name=f"group {number}") for number in range(4)]
    users = [User.objects.create(username=f"user {number}") for number in range(12)]
    users[0].is_superuser = True
    users[1].is_active = False
    users[2].is_active, users[2].is_superuser = False, True
    for user in users:
        user.save()
        user.groups.set(dice.sample(groups, dice.randrange(3)))
    users += [AnonymousUser(), User.objects.get(username="AnonymousUser")]
    instances = [model.objects.create() for model in MODELS for _ in range(6)]
    for instance in instances:
        for perm in (f"{verb}_{instance._meta.model_name}" for verb in ("view", "change")):
            for holder in [*dice.sample(users[:12] + users[13:], 3), *dice.sample(groups, 1)]:
                assign_perm(perm, holder, instance)
    for holder in [*dice.sample(users[:12], 3), *dice.sample(groups, 2)]:
        assign_perm("lab.view_page", holder)
    return users, instances


def alone(users, questions):
    """One by one, by Django's and guardian's own way."""
    return [user.has_perm(*question) for question in questions for user in fresh(*users)]


def questions_about(instances):
    for instance in instances:
        name = instance._meta.model_name
        for perm in (f"lab.view_{name}", f"lab.change_{name}", f"lab.delete_{name}", f"view_{name}", "view_other"):
            yield perm, instance
    yield from [("lab.view_page",), ("lab.change_page",), ("board.view_salary",)]


@pytest.mark.parametrize("anonymous", ["AnonymousUser", None])
def test_every_answer_is_the_one_that_each_user_gets_alone(world, anonymous, settings, monkeypatch):
    monkeypatch.setattr("guardian.conf.settings.ANONYMOUS_USER_NAME", anonymous)
    users, instances = world
    questions = list(questions_about(instances))
    expected = alone(users, questions)

    together = fresh(*users)
    rights = Rights(together)
    for model in MODELS:
        rights.read(model, [instance.pk for instance in instances if type(instance) is model])
    answers = [user.has_perm(*question) for question in questions for user in together]

    assert answers == expected
    assert 0 < sum(expected) < len(expected)


@pytest.mark.parametrize("number", [1, 12])
def test_the_number_of_queries_does_not_depend_on_the_number_of_users_or_objects(world, number):
    users, instances = world
    pages = [instance for instance in instances if isinstance(instance, Page)][:number]
    together = fresh(*users[3 : 3 + number])  # no superuser, who is not asked about
    rights = Rights(together)

    with CaptureQueriesContext(connection) as reading:
        rights.read(Page, [page.pk for page in pages])
    with CaptureQueriesContext(connection) as asking:
        for user in together:
            for page in pages:
                user.has_perm("lab.view_page", page)
    with CaptureQueriesContext(connection) as asking_for_models:
        for user in together:
            user.has_perm("lab.view_page")
            user.has_perm("lab.change_page")

    assert (len(reading), len(asking), len(asking_for_models)) == (3, 0, 3)


def test_what_does_not_exist_costs_the_same_queries(world, django_assert_num_queries):
    users, _ = world
    rights = Rights(fresh(*users[:3]))

    with django_assert_num_queries(3):
        rights.read(Page, [999_999])


def test_an_object_that_was_not_read_is_asked_about_alone(world):
    users, instances = world
    together = fresh(*users)
    Rights(together)
    page = instances[0]

    assert [user.has_perm("lab.view_page", page) for user in together] == alone(users, [("lab.view_page", page)])


def test_a_right_of_the_wrong_app_is_an_error_as_alone(world):
    users, instances = world
    [user] = fresh(users[3])
    Rights([user]).read(Page, [instances[0].pk])

    with pytest.raises(WrongAppError):
        user.has_perm("auth.view_page", instances[0])


def test_a_proxy_is_granted_as_its_concrete_model():
    foreign, user = Foreign.objects.create(), User.objects.create(username="someone")
    assign_perm("view_foreign", user, foreign)
    proxy = ForeignProxy.objects.get()

    [together] = fresh(user)
    Rights([together]).read(ForeignProxy, [proxy.pk])

    assert together.has_perm("lab.view_foreign", proxy)
    assert together.has_perm("lab.view_foreign", proxy) == user.has_perm("lab.view_foreign", proxy)


def test_other_backends_are_asked_too_and_may_refuse_for_good(world, monkeypatch):
    class Grants:
        def has_perm(self, user, perm, obj=None):
            return perm == "lab.anything"

    class Refuses:
        def has_perm(self, user, perm, obj=None):
            raise PermissionDenied

    _, instances = world
    [user] = fresh(User.objects.create(username="someone"))
    Rights([user]).read(Page, [instances[0].pk])

    for backends, expected in [([object(), Grants()], True), ([Refuses(), Grants()], False), ([], False)]:
        monkeypatch.setattr(rights_module.auth, "get_backends", lambda backends=backends: backends)
        assert user.has_perm("lab.anything", instances[0]) is expected


def test_a_user_model_that_answers_for_itself_is_asked_itself():
    class Own(User):
        class Meta:
            proxy = True
            app_label = "lab"

        def has_perm(self, perm, obj=None):
            return perm == "own"

    user = Own(username="own")
    Rights([user])

    assert user.has_perm("own")
    assert not user.has_perm("other")


def test_a_user_model_without_groups_has_direct_grants_only(monkeypatch):
    user, page = User.objects.create(username="someone"), Page.objects.create()
    assign_perm("view_page", user, page)

    class WithoutGroups:
        _meta = Card._meta

    monkeypatch.setattr(rights_module, "get_user_model", lambda: WithoutGroups)
    [together] = fresh(user)
    Rights([together]).read(Page, [page.pk])

    assert together.has_perm("lab.view_page", page)


def test_a_permission_of_another_content_type_with_the_same_codename_is_none():
    user, page = User.objects.create(username="someone"), Page.objects.create()
    twin = Permission.objects.create(codename="special", content_type=Permission.objects.first().content_type)
    content_type = Permission.objects.get(codename="view_page").content_type
    UserObjectPermission.objects.bulk_create(
        [UserObjectPermission(user=user, permission=twin, content_type=content_type, object_pk=str(page.pk))]
    )

    [together] = fresh(user)
    Rights([together]).read(Page, [page.pk])

    assert together.has_perm("lab.special", page) is user.has_perm("lab.special", page) is False
