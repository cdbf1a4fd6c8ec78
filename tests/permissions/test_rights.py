"""Rights in bulk: for every user and object what ``user.has_perm`` says, in a constant number of queries."""

from __future__ import annotations

import random
from dataclasses import replace
from uuid import uuid4

import pytest
from board.models import Membership, Organization
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import BaseBackend, ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser, Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import connection, connections, models
from django.test.utils import CaptureQueriesContext, isolate_apps
from guardian.backends import ObjectPermissionBackend
from guardian.exceptions import WrongAppError
from guardian.models import UserObjectPermission
from guardian.shortcuts import assign_perm, remove_perm
from guardian.utils import get_anonymous_user
from lab.models import DirectlyGranted, Document, Foreign, ForeignProxy, Page

from livegate.permissions import grants as grants_module
from livegate.permissions import rights as rights_module
from livegate.permissions import viewers as viewers_module
from livegate.permissions.aggregates import Collected
from livegate.permissions.crowds import Crowd
from livegate.permissions.rights import Rights

pytestmark = pytest.mark.django_db
User = get_user_model()

# Objects with integers and UUIDs for keys; granted in guardian's tables, or in tables of their own.
MODELS = [Page, Document, DirectlyGranted]


@pytest.fixture
def someone():
    return User.objects.create(username="someone")


@pytest.fixture
def people(viewer):
    def make(number):
        users = [User(username=f"person {position}") for position in range(number)]
        return [viewer(user) for user in User.objects.bulk_create(users)]

    return make


@pytest.fixture
def world(viewer):
    """Viewers of every kind, and objects of every kind, to whom and on which permissions were dealt at random."""
    dice = random.Random(7)
    groups = [Group.objects.create(name=f"group {number}") for number in range(4)]
    users = [User.objects.create(username=f"user {number}") for number in range(12)]
    users[0].is_superuser = True
    users[1].is_active = False
    users[2].is_active, users[2].is_superuser = False, True
    for user in users:
        user.save()
        user.groups.set(dice.sample(groups, dice.randrange(3)))
    stand_in = get_anonymous_user()
    instances = [model.objects.create() for model in MODELS for _ in range(6)]
    for instance in instances:
        for perm in (f"{verb}_{instance._meta.model_name}" for verb in ("view", "change")):
            for holders in (dice.sample([*users, stand_in], 3), dice.sample(groups, 1)):
                assign_perm(perm, holders, instance)
    for holder in [*dice.sample(users, 3), *dice.sample(groups, 2), stand_in]:
        assign_perm("lab.view_page", holder)
    viewers = [viewer(user) for user in [*users, stand_in, None]]
    return [*viewers, replace(viewers[3], language="de"), replace(viewers[-1], host="push.example")], instances


def questions_about(instances):
    for instance in instances:
        name = instance._meta.model_name
        for perm in (f"lab.view_{name}", f"lab.change_{name}", f"lab.delete_{name}", f"view_{name}", "view_other"):
            yield perm, instance
    yield from [("lab.view_page",), ("lab.change_page",), ("board.view_salary",), ("view_page",)]


def alone(viewers, questions):
    """One by one, by Django's and guardian's own way, with a user who remembers nothing."""

    def user_of(viewer):
        return AnonymousUser() if viewer.user.pk is None else User.objects.get(pk=viewer.user.pk)

    return [user_of(viewer).has_perm(*question) for question in questions for viewer in viewers]


def together(rights, viewers, questions):
    holding = [rights.holding(rights.crowd.viewers, *question) for question in questions]
    return [viewer in holders for holders in holding for viewer in viewers]


def by_fresh_users(rights, viewers, questions):
    """As ``user.has_perm`` says of the users that application code is given; who is not there, is given to none."""
    users = [rights.fresh(viewer).user if viewer in rights.crowd.keys else None for viewer in viewers]
    return [user is not None and user.has_perm(*question) for question in questions for user in users]


def keys_of(instances, model):
    return [instance.pk for instance in instances if type(instance) is model]


def number_of_queries(work):
    with CaptureQueriesContext(connection) as asked:
        work()
    return len(asked)


# The same as one by one


READINGS = {
    "all": lambda rights, instances: [rights.read(model, keys_of(instances, model)) for model in MODELS],
    "some": lambda rights, instances: [
        rights.read(model, keys_of(instances, model)[:3], {f"view_{model._meta.model_name}"}) for model in MODELS
    ],
    "some and again": lambda rights, instances: [
        rights.read(model, keys_of(instances, model), [f"{verb}_{model._meta.model_name}"])
        for verb in ("view", "change", "view")
        for model in MODELS
    ],
    "no codenames": lambda rights, instances: [rights.read(model, keys_of(instances, model), ()) for model in MODELS],
    "nothing": lambda rights, instances: None,
    "what is expected": lambda rights, instances: rights.expect(instances),
}


@pytest.mark.parametrize("are_twice", [True, False])
@pytest.mark.parametrize("anonymous", ["AnonymousUser", None])
def test_every_answer_is_the_one_that_each_user_gets_alone_whatever_was_read(world, anonymous, are_twice, monkeypatch):
    monkeypatch.setattr("guardian.conf.settings.ANONYMOUS_USER_NAME", anonymous)
    viewers, instances = world
    viewers = viewers if are_twice else viewers[:-2]
    questions = list(questions_about(instances))
    expected = alone(viewers, questions)

    for name, read in READINGS.items():
        for answering in (together, by_fresh_users):
            rights = Rights(viewers)
            read(rights, instances)
            assert answering(rights, viewers, questions) == expected, name

    assert 0.1 < sum(expected) / len(expected) < 0.5


def test_both_ways_agree_whichever_is_taken_first(world):
    viewers, instances = world
    questions = list(questions_about(instances))
    rights = Rights(viewers)

    first = by_fresh_users(rights, viewers, questions)

    assert together(rights, viewers, questions) == first == by_fresh_users(rights, viewers, questions)


def test_a_crowd_that_asks_again_is_told_what_is_true_then(world):
    """Whatever it has kept: the rights of before say nothing."""
    viewers, instances = world
    crowd, dice = Crowd(viewers), random.Random(11)
    users, groups = list(User.objects.all()), list(Group.objects.all())
    questions = list(questions_about(instances[::6]))
    answers = set()

    for _ in range(40):
        instance = dice.choice(instances[::6])
        change = dice.choice([assign_perm, remove_perm])
        change(f"view_{instance._meta.model_name}", dice.choice([*users, *groups]), instance)
        dice.choice(groups).user_set.set(dice.sample(users, 3))
        turned = dice.choice(users)
        User.objects.filter(pk=turned.pk).update(is_active=dice.random() < 0.7, is_superuser=dice.random() < 0.2)
        expected = alone(viewers, questions)
        whole, part = (
            (model, keys_of(instances, model), codenames)
            for model, codenames in ((Page, None), (Foreign, {"view_foreign"}))
        )
        for subjects in ((), (whole,), (part,), (whole, part), ((Page, [], None), whole), ((Page, [1], ()), part)):
            assert together(Rights(crowd, *subjects), viewers, questions) == expected
        assert by_fresh_users(Rights(crowd, whole, part), viewers, questions) == expected
        answers.add(tuple(expected))

    assert len(answers) > 10


def test_only_those_are_told_who_were_asked_about(world):
    viewers, instances = world
    rights = Rights(viewers)
    holders = rights.holding(rights.crowd.viewers, "lab.view_page", instances[0])
    assert len(holders) > 2

    for viewer in rights.crowd.keys:
        assert rights.holding({viewer}, "lab.view_page", instances[0]) == holders & {viewer}
    assert rights.holding(set(), "lab.view_page", instances[0]) == set()


def test_an_object_that_is_falsy_is_an_object_all_the_same(world, monkeypatch):
    monkeypatch.setattr(Page, "__len__", lambda page: 0, raising=False)
    viewers, instances = world
    questions = list(questions_about(instances[::6]))
    expected = alone(viewers, questions)

    assert together(Rights(viewers), viewers, questions) == expected
    assert by_fresh_users(Rights(viewers), viewers, questions) == expected


# Who is there


def test_who_was_deactivated_or_deleted_is_not_there(someone, people, viewer):
    deleted, inactive, inactive_superuser = people(3)
    User.objects.filter(pk=inactive.user.pk).update(is_active=False)
    User.objects.filter(pk=inactive_superuser.user.pk).update(is_active=False, is_superuser=True)
    User.objects.filter(pk=deleted.user.pk).delete()
    here, nobody = viewer(someone), viewer()

    rights = Rights([deleted, here, inactive, nobody, inactive_superuser])

    assert rights.crowd.keys == {here: someone.pk, nobody: None}
    assert rights.fresh(here).user == someone
    assert rights.crowd.keys == {here: someone.pk, nobody: None}


def test_one_who_is_no_user_is_not_there_whatever_their_key(someone, viewer):
    class Account:
        is_authenticated = True
        pk = someone.pk

    organization = Organization.objects.create(pk=someone.pk + 10_000, name="organization")
    organization.is_authenticated = True
    User.objects.create(pk=organization.pk, username="namesake", is_superuser=True)

    assert Rights([viewer(Account()), viewer(organization)]).crowd.keys == {}


def test_a_superuser_is_one_as_long_as_the_database_says_so(someone, viewer):
    page = Page.objects.create()
    someone.is_superuser = True  # and was never saved

    assert Rights([viewer(someone)]).holding({viewer(someone)}, "lab.view_page", page) == set()

    someone.save()
    for perm in [("lab.view_page", page), ("lab.view_page",), ("no.such",)]:
        assert Rights([viewer(someone)]).holding({viewer(someone)}, *perm) == {viewer(someone)}
        assert Rights([viewer(someone)]).fresh(viewer(someone)).user.has_perm(*perm)


def test_a_user_in_two_languages_is_two_viewers_with_the_same_rights(someone, viewer):
    page = Page.objects.create()
    assign_perm("view_page", someone, page)
    both = {viewer(someone), viewer(someone, language="de")}

    rights = Rights(both)

    assert rights.crowd.keys == dict.fromkeys(both, someone.pk)
    assert rights.holding(both, "lab.view_page", page) == both
    assert rights.holding(both, "lab.change_page", page) == set()
    assert {rights.fresh(one).language for one in both} == {"en-us", "de"}
    assert all(rights.fresh(one) == one and rights.fresh(one).user.has_perm("view_page", page) for one in both)


def test_a_viewer_named_twice_is_one(someone, viewer):
    rights = Rights([viewer(someone), viewer(User.objects.get(pk=someone.pk))])

    assert rights.crowd.keys == {viewer(someone): someone.pk}


def test_there_may_be_no_viewers():
    rights = Rights([])

    assert rights.crowd.keys == {}
    assert rights.holding(set(), "lab.view_page", Page.objects.create()) == set()
    assert rights.holding(set(), "lab.view_page") == set()


def test_the_users_that_are_given_out_remember_nothing(someone, viewer):
    page = Page.objects.create()
    old = viewer(someone)
    assert not old.user.has_perm("lab.view_page", page)
    assert not old.user.has_perm("lab.view_page")
    assign_perm("view_page", User.objects.get(pk=someone.pk), page)
    assign_perm("lab.view_page", User.objects.get(pk=someone.pk))

    rights = Rights([old])

    assert rights.fresh(old).user is not someone
    assert rights.fresh(old).user.has_perm("lab.view_page", page)
    assert rights.fresh(old).user.has_perm("lab.view_page")
    assert not old.user.has_perm("lab.view_page")


# Anonymous viewers


@pytest.mark.parametrize("change", [{}, {"is_active": False}, {"is_superuser": True}])
@pytest.mark.parametrize("granted", [False, True])
def test_anonymous_viewers_have_the_rights_of_the_user_who_stands_for_them(viewer, granted, change):
    page = Page.objects.create()
    if granted:
        assign_perm("view_page", get_anonymous_user(), page)
    User.objects.filter(username="AnonymousUser").update(**change)
    nobody = viewer()

    for perm in [("lab.view_page", page), ("lab.change_page", page), ("lab.view_page",)]:
        expected = AnonymousUser().has_perm(*perm)
        assert Rights([nobody]).holding({nobody}, *perm) == ({nobody} if expected else set())
        assert Rights([nobody]).fresh(nobody).user.has_perm(*perm) is expected


def test_a_missing_user_for_anonymous_viewers_is_their_error_and_nobody_elses(someone, viewer):
    page = Page.objects.create()
    assign_perm("view_page", someone, page)
    User.objects.filter(username="AnonymousUser").delete()
    rights = Rights([viewer(someone), viewer()])

    assert rights.fresh(viewer(someone)).user.has_perm("lab.view_page", page)
    assert rights.holding({viewer(someone)}, "lab.view_page", page) == {viewer(someone)}
    for error_of in (
        lambda: AnonymousUser().has_perm("lab.view_page", page),
        lambda: rights.fresh(viewer()).user.has_perm("lab.view_page", page),
        lambda: rights.holding({viewer()}, "lab.view_page", page),
    ):
        with pytest.raises(ObjectDoesNotExist):
            error_of()


def test_without_a_user_for_anonymous_viewers_they_have_no_rights(viewer, monkeypatch):
    page = Page.objects.create()
    assign_perm("view_page", get_anonymous_user(), page)
    monkeypatch.setattr("guardian.conf.settings.ANONYMOUS_USER_NAME", None)

    rights = Rights([viewer()])

    assert rights.holding({viewer()}, "lab.view_page", page) == set()
    assert not rights.fresh(viewer()).user.has_perm("lab.view_page", page)
    assert not AnonymousUser().has_perm("lab.view_page", page)


# Queries


@pytest.mark.parametrize("number", [1, 12, 200])
def test_the_number_of_queries_does_not_depend_on_the_number_of_viewers_or_objects(people, number):
    viewers = people(number)
    pages = Page.objects.bulk_create(Page() for _ in range(number))
    group = Group.objects.create(name="group")
    for page in pages[:12]:
        assign_perm("view_page", viewers[-1].user, page)
        assign_perm("view_page", group, page)
    group.user_set.set([viewer.user for viewer in viewers])
    ContentType.objects.get_for_model(Page)
    rights = None

    def make():
        nonlocal rights
        rights = Rights(viewers)

    def ask(*perm):
        return lambda: [rights.holding(set(viewers), *perm) for _ in range(3)]

    def ask_users(*perm):
        return lambda: [rights.fresh(viewer).user.has_perm(*perm) for viewer in viewers]

    assert number_of_queries(make) == 1
    assert number_of_queries(lambda: rights.read(Page, [page.pk for page in pages])) == 1
    assert [number_of_queries(ask("lab.view_page", page)) for page in pages] == [0] * number
    assert number_of_queries(ask("lab.view_page")) == 3
    assert number_of_queries(ask("lab.change_page")) == 0
    assert number_of_queries(lambda: [rights.fresh(viewer) for viewer in viewers]) == 1
    assert [number_of_queries(ask_users("lab.view_page", page)) for page in pages[:12]] == [0] * min(number, 12)
    assert number_of_queries(ask_users("lab.view_page")) == 0
    assert rights.holding(set(viewers), "lab.view_page", pages[0]) == set(viewers)


def test_anonymous_viewers_cost_one_query_more_whatever_their_number(viewer):
    page = Page.objects.create()
    ContentType.objects.get_for_model(Page)
    some = [viewer(), viewer(host="push.example"), viewer(language="de")]

    def queries(viewers):
        rights = Rights(viewers)
        return number_of_queries(lambda: rights.holding(set(viewers), "lab.view_page", page))

    assert queries(some[:1]) == queries(some) == 2


@pytest.mark.parametrize("model", MODELS)
def test_what_does_not_exist_costs_the_same_queries(people, model):
    rights = Rights(people(2))
    there, gone = model.objects.create().pk, uuid4() if model is Document else 999_999
    ContentType.objects.get_for_model(model)

    assert number_of_queries(lambda: rights.read(model, [there])) == 1
    assert number_of_queries(lambda: rights.read(model, [gone])) == 1


def test_nothing_is_read_where_no_codenames_are_asked_for(people):
    rights, page = Rights(people(2)), Page.objects.create()
    ContentType.objects.get_for_model(Page)

    assert number_of_queries(lambda: rights.read(Page, [page.pk], frozenset())) == 0
    assert number_of_queries(lambda: rights.holding(set(rights.crowd.keys), "view_page", page)) == 1


def test_what_was_read_is_not_read_again_and_what_was_not_is_read_whole(people):
    rights, page = Rights(people(2)), Page.objects.create()
    ContentType.objects.get_for_model(Page)
    rights.read(Page, [page.pk], {"view_page"})

    def queries(perm):
        return number_of_queries(lambda: rights.holding(set(rights.crowd.keys), perm, page))

    assert [queries(perm) for perm in ("lab.view_page", "view_page")] == [0, 0]
    assert [queries(perm) for perm in ("change_page", "delete_page", "no_such")] == [1, 0, 0]


def test_who_holds_what_is_looked_at_once_however_often_and_of_however_many_it_is_asked(people, monkeypatch):
    viewers = people(5)
    pages = [Page.objects.create() for _ in range(40)]
    for page in pages:
        assign_perm("view_page", viewers[0].user, page)
        assign_perm("view_page", viewers[1 + page.pk % 4].user, page)
    looked_at = []
    listed = rights_module.listed
    monkeypatch.setattr(rights_module, "listed", lambda keys: looked_at.append(keys) or listed(keys))
    rights = Rights(viewers)
    for _ in range(2):
        rights.read(Page, [page.pk for page in pages])

    for viewer in viewers:
        user = rights.fresh(viewer).user
        assert [user.has_perm("lab.view_page", page) for page in pages] == [
            viewer in (viewers[0], viewers[1 + page.pk % 4]) for page in pages
        ]

    # Of each pair of holders there is a list, or two: a database gives them in any order.
    assert len(looked_at) == len(set(looked_at)) <= 2 * (len(viewers) - 1)


def test_all_expected_objects_of_a_model_are_read_when_one_of_them_is_asked_about(people):
    [one, *_] = viewers = people(3)
    pages, documents = ([model.objects.create() for _ in range(5)] for model in (Page, Document))
    for instance in (*pages[::2], *documents[::2]):
        assign_perm(f"view_{instance._meta.model_name}", one.user, instance)
    unexpected = Page.objects.create()
    rights = Rights(viewers)
    rights.expect([*pages, *documents])
    rights.expect(iter(pages))

    def ask(instance):
        perm = f"lab.view_{instance._meta.model_name}"
        return rights.holding(set(viewers), perm, instance), rights.fresh(one).user.has_perm(perm, instance)

    rights.fresh(one)
    assert [number_of_queries(lambda page=page: ask(page)) for page in pages] == [1, 0, 0, 0, 0]
    assert [number_of_queries(lambda document=document: ask(document)) for document in documents] == [1, 0, 0, 0, 0]
    assert number_of_queries(lambda: ask(unexpected)) == 1
    assert [ask(page) for page in pages] == [({one}, True), (set(), False)] * 2 + [({one}, True)]
    assert rights.expected(Page) == pages
    assert rights.expected(Foreign) == []


def test_what_lies_on_a_path_from_the_users_is_fetched_for_all_at_once(people, viewer):
    viewers = people(4)
    for person in viewers:
        organization = Organization.objects.create(name=person.user.username)
        Membership.objects.create(user=person.user, organization=organization)
    rights = Rights([*viewers, viewer()])

    assert number_of_queries(lambda: rights.prefetch_of_users([])) == 0
    assert number_of_queries(lambda: rights.prefetch_of_users({"memberships__organization"})) == 3

    def names():
        return [rights.fresh(one).user.memberships.all()[0].organization.name for one in viewers]

    assert number_of_queries(names) == 0
    assert names() == [one.user.username for one in viewers]


# What else decides


class Everyone(BaseBackend):
    def has_perm(self, user, perm, obj=None):
        return perm.endswith("view_page") and user.username in ("user 5", "")


class Nobody(BaseBackend):
    def has_perm(self, user, perm, obj=None):
        if user.username == "user 4" or perm == "lab.change_page":
            raise PermissionDenied
        return False


class Guests(ModelBackend):
    def _get_group_permissions(self, user):
        return Permission.objects.filter(codename="change_page" if user.username == "user 6" else "none")


class Named(ModelBackend):
    def _get_user_permissions(self, user):
        return Permission.objects.filter(codename="change_page" if user.username == "user 6" else "none")


class Careful(ModelBackend):
    def has_perm(self, user, perm, obj=None):
        return user.username != "user 3" and super().has_perm(user, perm, obj)


class Guarding(ObjectPermissionBackend):
    def has_perm(self, user, perm, obj=None):
        return super().has_perm(user, perm, obj) and user.username != "user 5"


class Logins:
    """A backend that knows nothing of permissions."""

    def authenticate(self, request, **credentials):
        return None


DJANGOS, GUARDIANS = "django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend"
OWN = [Everyone, Nobody, Guests, Named, Careful, Guarding]


def path_to(backend):
    return f"{__name__}.{backend.__name__}"


def name_of(path):
    return path.rpartition(".")[2]


def rearrangements():
    for own in OWN:
        yield [path_to(own), DJANGOS, GUARDIANS]
        yield [DJANGOS, GUARDIANS, path_to(own)]
    yield [path_to(Guarding)]
    yield [DJANGOS, path_to(Guarding)]
    yield [path_to(Careful), GUARDIANS]


@pytest.mark.parametrize("backends", list(rearrangements()), ids=lambda paths: " ".join(map(name_of, paths)))
def test_where_another_backend_decides_each_user_asks_it(world, settings, backends):
    settings.AUTHENTICATION_BACKENDS = backends
    viewers, instances = world
    questions = list(questions_about(instances[::6]))

    rights = Rights(viewers)

    assert all(rights.holding(set(rights.crowd.keys), *question) is None for question in questions)
    assert by_fresh_users(rights, viewers, questions) == alone(viewers, questions)


@pytest.mark.parametrize(
    "backends",
    [[DJANGOS], [GUARDIANS], [GUARDIANS, DJANGOS], [path_to(Logins), DJANGOS, GUARDIANS], [path_to(Logins)]],
    ids=lambda paths: " ".join(map(name_of, paths)),
)
def test_without_one_of_the_two_backends_nobody_has_what_it_gives(world, settings, backends):
    settings.AUTHENTICATION_BACKENDS = backends
    viewers, instances = world
    questions = list(questions_about(instances[::6]))
    expected = alone(viewers, questions)

    assert together(Rights(viewers), viewers, questions) == expected
    assert by_fresh_users(Rights(viewers), viewers, questions) == expected


def test_a_backend_may_refuse_for_good(someone, viewer, monkeypatch):
    class Grants:
        def has_perm(self, user, perm, obj=None):
            return perm == "lab.anything"

    class Refuses:
        def has_perm(self, user, perm, obj=None):
            raise PermissionDenied

    page, one = Page.objects.create(), viewer(someone)

    for backends, expected in [([object(), Grants()], True), ([Refuses(), Grants()], False), ([], False)]:
        monkeypatch.setattr(rights_module.auth, "get_backends", lambda backends=backends: backends)
        assert Rights([one]).fresh(one).user.has_perm("lab.anything", page) is expected


def exchange_users(monkeypatch, model):
    for module in (rights_module, grants_module, viewers_module):
        monkeypatch.setattr(module, "get_user_model", lambda: model)


@isolate_apps("lab")
def test_a_user_model_that_answers_for_itself_is_asked_itself(someone, viewer, monkeypatch):
    class Own(User):
        class Meta:
            proxy = True
            app_label = "lab"

        def has_perm(self, perm, obj=None):
            return perm == "own" and obj is None

    exchange_users(monkeypatch, Own)
    page, one = Page.objects.create(), viewer(Own.objects.get(pk=someone.pk))
    assign_perm("view_page", someone, page)

    rights = Rights([one, viewer()])

    assert rights.crowd.keys == {one: someone.pk, viewer(): None}
    assert rights.holding({one}, "own") is rights.holding({one}, "lab.view_page", page) is None
    user = rights.fresh(one).user
    assert [user.has_perm("own"), user.has_perm("other"), user.has_perm("lab.view_page", page)] == [True, False, False]


@isolate_apps("lab")
@pytest.mark.parametrize("answers", [True, False])
def test_a_user_model_without_superusers_groups_and_permissions_answers_for_itself(
    someone, viewer, people, monkeypatch, answers
):
    class Lean(AbstractBaseUser):
        username = models.CharField(max_length=150)
        is_active = models.BooleanField()

        class Meta:
            app_label = "lab"
            managed = False
            db_table = User._meta.db_table

        if answers:

            def has_perm(self, perm, obj=None):
                return self.username == "someone"

    exchange_users(monkeypatch, Lean)
    others = [viewer(Lean.objects.get(pk=one.user.pk)) for one in people(3)]
    Lean.objects.filter(pk=others[0].user.pk).update(is_active=False)
    one, page = viewer(Lean.objects.get(pk=someone.pk)), Page.objects.create()

    rights = Rights([one, *others])

    assert rights.crowd.keys == {viewer: viewer.user.pk for viewer in (one, *others[1:])}
    assert rights.holding({one}, "lab.view_page", page) is None
    assert rights_module.members_of([someone.pk]) == {}
    if answers:
        assert [rights.fresh(viewer).user.has_perm("any", page) for viewer in rights.crowd.keys] == [True, False, False]
    else:
        assert not hasattr(rights.fresh(one).user, "has_perm")


@isolate_apps("lab")
def test_a_user_model_with_superusers_of_its_own_need_not_know_permissions(someone, viewer, monkeypatch):
    class Bare(AbstractBaseUser):
        is_active = models.BooleanField()
        is_superuser = models.BooleanField()

        class Meta:
            app_label = "lab"
            managed = False
            db_table = User._meta.db_table

    exchange_users(monkeypatch, Bare)
    one = viewer(Bare.objects.get(pk=someone.pk))

    assert Rights([one]).crowd.keys == {one: someone.pk}
    assert Rights([one]).holding({one}, "lab.view_page", Page()) is None


def test_a_database_of_another_make_is_asked_the_same(people, monkeypatch):
    holder, member, nobody, superuser = viewers = people(4)
    group, page = Group.objects.create(name="group"), Page.objects.create()
    group.user_set.add(member.user)
    User.objects.filter(pk=superuser.user.pk).update(is_superuser=True)
    assign_perm("view_page", holder.user, page)
    assign_perm("view_page", group, page)

    function = {"sqlite": "JSON_GROUP_ARRAY", "postgresql": "ARRAY_AGG"}[connection.vendor]
    with monkeypatch.context() as other:
        other.setattr(connections["default"], "vendor", "other")
        other.setattr(Collected, "function", function)
        rights = Rights(viewers, (Page, [page.pk], {"view_page"}))

    assert rights.holding({*viewers}, "lab.view_page", page) == {holder, member, superuser}
    assert nobody in rights.crowd


# What a permission is on


@pytest.mark.parametrize("perm", ["auth.view_page", "board.view_page", "nowhere.view_page"])
def test_a_right_of_the_wrong_app_is_an_error_as_alone(someone, viewer, perm):
    page, one = Page.objects.create(), viewer(someone)
    rights = Rights([one])

    for error_of in (
        lambda: someone.has_perm(perm, page),
        lambda: rights.fresh(one).user.has_perm(perm, page),
        lambda: rights.holding({one}, perm, page),
    ):
        with pytest.raises(WrongAppError):
            error_of()


def test_a_proxy_is_granted_as_its_concrete_model(someone, viewer):
    foreign, one = Foreign.objects.create(), viewer(someone)
    assign_perm("view_foreign", someone, foreign)
    proxy = ForeignProxy.objects.get()

    for read, asked in [(ForeignProxy, proxy), (ForeignProxy, foreign), (Foreign, proxy), (None, proxy)]:
        rights = Rights([one])
        if read:
            rights.read(read, [proxy.pk])
        assert rights.holding({one}, "lab.view_foreign", asked) == {one}
        assert rights.fresh(one).user.has_perm("lab.view_foreign", asked)
        assert someone.has_perm("lab.view_foreign", asked)


def test_a_permission_of_another_content_type_with_the_same_codename_is_none(someone, viewer):
    page, one = Page.objects.create(), viewer(someone)
    twin = Permission.objects.create(codename="special", content_type=Permission.objects.first().content_type)
    content_type = Permission.objects.get(codename="view_page").content_type
    UserObjectPermission.objects.bulk_create(
        [UserObjectPermission(user=someone, permission=twin, content_type=content_type, object_pk=str(page.pk))]
    )

    assert not someone.has_perm("lab.special", page)
    assert not Rights([one]).fresh(one).user.has_perm("lab.special", page)
    assert Rights([one]).holding({one}, "lab.special", page) == set()


def test_a_permission_that_was_given_on_an_object_of_another_content_type_is_none(someone, viewer):
    page, one = Page.objects.create(), viewer(someone)
    permission, another = Permission.objects.get(codename="view_page"), ContentType.objects.get_for_model(Foreign)
    UserObjectPermission.objects.bulk_create(
        [UserObjectPermission(user=someone, permission=permission, content_type=another, object_pk=str(page.pk))]
    )

    assert not someone.has_perm("lab.view_page", page)
    assert Rights([one]).holding({one}, "lab.view_page", page) == set()


def test_objects_of_two_models_with_the_same_key_are_two(someone, viewer):
    page, foreign, one = Page.objects.create(pk=77), Foreign.objects.create(pk=77), viewer(someone)
    permission = Permission.objects.get(codename="view_foreign")
    permission.codename = "view_page"  # so that even the codename is the same
    permission.save()
    assign_perm(permission, someone, foreign)

    rights = Rights([one])
    rights.read(Page, [77])
    rights.read(Foreign, [77])

    assert rights.holding({one}, "lab.view_page", page) == set()
    assert rights.holding({one}, "lab.view_page", foreign) == {one}


@pytest.mark.parametrize("model", MODELS)
def test_a_group_gives_its_rights_to_its_members_only(people, model):
    member, outsider = people(2)
    group, other = (Group.objects.create(name=name) for name in ("group", "other"))
    group.user_set.add(member.user)
    other.user_set.add(member.user, outsider.user)
    instance, perm = model.objects.create(), f"lab.view_{model._meta.model_name}"
    assign_perm(perm, group, instance)

    rights = Rights([member, outsider])

    assert rights.holding({member, outsider}, perm, instance) == {member}


def test_the_members_of_a_group_that_its_manager_leaves_out_have_no_rights_from_it(people, monkeypatch):
    [one] = people(1)
    group, page = Group.objects.create(name="archived"), Page.objects.create()
    group.user_set.add(one.user)
    assign_perm("view_page", group, page)
    assert rights_module.members_of([one.user.pk]).keys() == {group.pk}

    manager = Group._default_manager
    monkeypatch.setattr(type(manager), "get_queryset", lambda self: Group._base_manager.exclude(name="archived"))

    assert rights_module.members_of([one.user.pk]) == {}
    assert Rights([one]).holding({one}, "lab.view_page", page) == set()
    assert not User.objects.get(pk=one.user.pk).has_perm("lab.view_page", page)


@pytest.mark.django_db
def test_permissions_on_models_are_not_read_where_something_else_tells_them(settings, viewer):
    settings.AUTHENTICATION_BACKENDS = ["guardian.backends.ObjectPermissionBackend"]
    rights = Rights([viewer(User.objects.create(username="somebody"))])
    rights.read_on_models()

    assert "_model_permissions" not in vars(rights)
