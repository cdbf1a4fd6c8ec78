"""Permissions: what each of them asks, how they combine, and that what is unknown is never a yes."""

from __future__ import annotations

import operator

import pytest
from board.models import Board, Card, Membership, Organization
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.models import Permission as Grant
from django.db import DatabaseError, connection, models, transaction
from django.test.utils import CaptureQueriesContext, isolate_apps
from guardian.exceptions import WrongAppError
from guardian.shortcuts import assign_perm
from guardian.utils import get_anonymous_user
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lab.models import Badge, Document, Page
from rest_framework.permissions import BasePermission, IsAdminUser

from livegate.permissions import (
    Permission,
    anyone,
    drf,
    has_model_perm,
    has_perm,
    is_authenticated,
    is_owner,
    is_self,
    permission,
    same_tenant,
)
from livegate.permissions.inquiries import Inquiry
from livegate.permissions.rights import Rights
from livegate.permissions.rules import Rule, asked_for, relations_on
from livegate.permissions.viewers import refresh

User = get_user_model()


pytestmark = pytest.mark.django_db


# has_perm, has_model_perm


def person(demo, who):
    if who == "inactive":
        User.objects.filter(username="cleo").update(is_active=False)
        return User.objects.get(username="cleo")
    if who == "inactive superuser":
        User.objects.filter(username="admin").update(is_active=False)
        return User.objects.get(username="admin")
    if who == "visitor with a grant":
        assign_perm("view_card", get_anonymous_user(), demo.card)
        return AnonymousUser()
    return getattr(demo, who)


@pytest.mark.parametrize("perm", ["view_card", "board.view_card"])
@pytest.mark.parametrize(
    ("who", "expected"),
    [
        ("cleo", True),  # by a grant of her own
        ("ben", True),  # by one of his group
        ("admin", True),
        ("visitor with a grant", True),
        ("amira", False),
        ("dev", False),
        ("nobody", False),
        ("inactive", False),
        ("inactive superuser", False),
    ],
)
def test_has_perm_answers_as_the_user_does(demo, viewer, who, expected, perm):
    user = person(demo, who)

    answer = has_perm(perm).allows(viewer(user), demo.card)

    assert answer is expected
    assert user.has_perm("board.view_card", demo.card) is expected


def test_an_object_permission_is_for_that_object_and_that_codename(demo, viewer):
    other = Card.objects.create(board=demo.card.board, owner=demo.amira)

    assert not has_perm("view_card").allows(viewer(demo.cleo), other)
    assert not has_perm("view_salary").allows(viewer(demo.cleo), demo.card)


def test_a_permission_on_the_whole_model_is_none_on_an_object_and_the_reverse(demo, viewer):
    demo.dev.user_permissions.add(Grant.objects.get(codename="view_card"))

    assert not has_perm("view_card").allows(viewer(demo.dev), demo.card)
    assert not has_model_perm("view_card").allows(viewer(demo.cleo), demo.card)


@pytest.mark.parametrize("perm", ["view_card", "board.view_card"])
def test_has_model_perm_is_for_every_instance_of_the_model(demo, viewer, perm):
    demo.dev.user_permissions.add(Grant.objects.get(codename="view_card"))

    assert has_model_perm(perm).allows(viewer(demo.dev), demo.card)
    assert has_model_perm(perm).allows(viewer(demo.dev), Card())
    assert has_model_perm(perm).allows(viewer(demo.dev), Page()) is ("." in perm)  # without: lab.view_card
    assert not has_model_perm(perm).allows(viewer(), demo.card)


@pytest.mark.parametrize("negation", [lambda asked: asked, operator.invert, lambda asked: asked | anyone])
def test_a_permission_of_another_app_is_not_known_and_so_never_a_yes(demo, viewer, negation):
    with pytest.raises(WrongAppError):
        negation(has_perm("lab.view_card")).allows(viewer(demo.cleo), demo.card)


# is_owner


@pytest.mark.parametrize(
    "path", ["owner", "owner_id", "board__cards__owner", "board__organization__boards__cards__owner"]
)
def test_the_owner_is_found_at_the_end_of_a_path(demo, viewer, path):
    assert is_owner(path).allows(viewer(demo.amira), demo.card)
    assert not is_owner(path).allows(viewer(demo.ben), demo.card)
    assert not is_owner(path).allows(viewer(), demo.card)


def test_each_of_several_owners_is_one(demo, viewer):
    page = Page.objects.create()
    page.editors.set([demo.amira, demo.ben])

    assert [is_owner("editors").allows(viewer(user), page) for user in (demo.amira, demo.ben, demo.cleo)] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("user", [AnonymousUser(), User()])
@pytest.mark.parametrize("path", ["owner", "owner__edited_pages__owner"])
def test_nobody_owns_what_has_no_owner(viewer, user, path):
    assert not is_owner(path).allows(viewer(user), Page(owner=None))


@pytest.mark.parametrize("user", [AnonymousUser(), User()])
def test_nobody_owns_what_nobody_edits(db, viewer, user):
    assert not is_owner("editors").allows(viewer(user), Page.objects.create())


def test_the_other_side_of_a_one_to_one_may_be_missing(demo, viewer):
    bare, badged = (Document.objects.create(owner=demo.amira) for _ in range(2))
    Badge.objects.create(document=badged)
    asked = is_owner("badge__document__owner")

    assert asked.allows(viewer(demo.amira), badged)
    assert not asked.allows(viewer(demo.amira), bare)
    assert not is_owner("badge").allows(viewer(demo.amira), bare)


def test_an_owner_is_not_mistaken_for_another_object_with_the_same_key(demo, viewer):
    board = Board.objects.create(pk=demo.amira.pk + 10_000, name="", organization=demo.card.board.organization)
    namesake = User.objects.create(pk=board.pk, username="namesake")

    assert not is_owner("board").allows(viewer(namesake), Card(board=board, owner=demo.amira))


def test_the_owner_is_not_fetched_to_learn_who_it_is(demo, viewer, django_assert_num_queries):
    card = Card.objects.get()

    with django_assert_num_queries(0):
        assert is_owner("owner").allows(viewer(demo.amira), card)
    with django_assert_num_queries(1):  # the board and no organization
        assert not is_owner("board__organization").allows(viewer(demo.amira), card)


@isolate_apps("lab")
def test_a_foreign_key_to_something_else_than_the_primary_key_leads_to_the_object(viewer):
    class Firm(models.Model):
        name = models.CharField(max_length=80, unique=True)

        class Meta:
            app_label = "lab"

    class Order(models.Model):
        firm = models.ForeignKey(Firm, models.CASCADE, to_field="name")

        class Meta:
            app_label = "lab"

    class Customer(models.Model):
        firm_by_key = models.ForeignKey(Firm, models.CASCADE)
        is_authenticated = True

        class Meta:
            app_label = "lab"

    order = Order(firm=Firm(pk=1, name="2"))
    asked = same_tenant("firm", "firm_by_key")

    assert asked.allows(viewer(Customer(firm_by_key_id=1)), order)
    assert not asked.allows(viewer(Customer(firm_by_key_id=2)), order)


def test_a_path_that_leads_nowhere_is_an_error(demo, viewer):
    with pytest.raises(AttributeError):
        (~is_owner("ownr")).allows(viewer(demo.dev), demo.card)


# is_self


def test_a_user_is_themselves_and_nobody_else(demo, viewer):
    same = User.objects.get(pk=demo.amira.pk)

    assert is_self.allows(viewer(demo.amira), same)
    assert not is_self.allows(viewer(demo.amira), demo.ben)
    assert not is_self.allows(viewer(demo.amira), Card(pk=demo.amira.pk))
    assert not is_self.allows(viewer(), demo.amira)
    assert not is_self.allows(viewer(), User())


# same_tenant

in_the_house = same_tenant("board__organization", "memberships__organization")


def test_a_tenant_is_shared_by_its_members(demo, viewer):
    assert in_the_house.allows(viewer(demo.cleo), demo.card)
    assert not in_the_house.allows(viewer(demo.dev), demo.card)
    assert not in_the_house.allows(viewer(demo.admin), demo.card)
    assert not in_the_house.allows(viewer(), demo.card)


def test_one_of_several_memberships_is_enough(demo, viewer):
    Membership.objects.create(user=demo.dev, organization=Organization.objects.create(name="Westend"))
    assert not in_the_house.allows(viewer(demo.dev), demo.card)
    Membership.objects.create(user=demo.dev, organization=demo.card.board.organization)

    assert in_the_house.allows(viewer(demo.dev), demo.card)


def test_to_have_no_tenant_is_nothing_in_common(demo, viewer):
    unowned, shared = Page.objects.create(owner=None), Page.objects.create(owner=None)
    shared.editors.add(demo.amira)
    asked = same_tenant("owner", "edited_pages__owner")

    assert not asked.allows(viewer(demo.amira), unowned)
    Page.objects.filter(owner=None).update(owner=demo.ben)
    assert asked.allows(viewer(User.objects.get(pk=demo.amira.pk)), Page.objects.get(pk=unowned.pk))


def test_another_model_with_the_same_key_is_another_tenant(demo, viewer):
    organization = Organization.objects.get(name="Southgate")
    board = Board.objects.create(pk=organization.pk + 10_000, name="", organization=organization)
    Organization.objects.create(pk=board.pk, name="Namesake")
    Membership.objects.create(user=demo.dev, organization_id=board.pk)

    assert not same_tenant("board", "memberships__organization").allows(viewer(demo.dev), Card(board=board))


def test_an_anonymous_visitor_is_of_no_tenant_whatever_their_attributes_say(viewer):
    asked = same_tenant("title", "username")

    assert AnonymousUser().username == Card(title="").title
    assert not asked.allows(viewer(), Card(title=""))
    assert asked.allows(viewer(User(username="same")), Card(title="same"))


# anyone, is_authenticated


def test_anyone_and_whoever_is_logged_in(viewer):
    assert anyone.allows(viewer(), Card())
    assert is_authenticated.allows(viewer(User(pk=7)), Card())
    assert not is_authenticated.allows(viewer(), Card())


# Answers


async def a_coroutine():
    return False


class Answering(Permission):
    """An application's own, that gives any answer."""

    def __init__(self, answer):
        self.answer = answer

    def allows(self, viewer, instance):
        return self.answer()

    def __repr__(self):
        return "own"


def by_function(answer):
    @permission
    def own(viewer, instance):
        return answer()

    return own


@pytest.mark.parametrize(
    "combined",
    [
        lambda asked: asked,
        lambda asked: ~asked,
        lambda asked: asked | anyone,
        lambda asked: ~anyone | asked,
        lambda asked: asked & anyone,
        lambda asked: ~(anyone & asked),
    ],
)
@pytest.mark.parametrize("make", [by_function, Answering])
@pytest.mark.parametrize("answer", [lambda: None, lambda: 1, lambda: 0, lambda: "yes", list, a_coroutine])
def test_an_answer_that_is_neither_true_nor_false_is_no_answer(combined, make, answer):
    with pytest.raises(TypeError, match=r"^own answered .*; a permission answers True or False"):
        combined(make(answer)).allows(None, None)


def test_an_async_permission_is_refused():
    class Async(Permission):
        async def allows(self, viewer, instance):
            return False

    with pytest.raises(TypeError, match="answered coroutine"):
        Async().allows(None, None)


@pytest.mark.parametrize(
    "combined", [lambda asked: ~asked, lambda asked: asked | anyone, lambda asked: ~(asked & anyone)]
)
def test_an_error_passes_through_every_operator(combined):
    def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        combined(by_function(fails)).allows(None, None)


def test_a_permission_without_an_answer_is_none():
    class Mute(Permission):
        pass

    with pytest.raises(NotImplementedError):
        (~Mute()).allows(None, None)


# Expressions

NAMED = {name: Rule(name, lambda answers, _, name=name: answers[name]) for name in "abc"}
expressions = st.recursive(
    st.sampled_from([(name,) for name in NAMED]),
    lambda inner: st.tuples(st.just("~"), inner) | st.tuples(st.sampled_from("&|"), inner, inner),
    max_leaves=12,
)


def build(expression, values, signs):
    sign, *parts = expression
    return signs[sign](*(build(part, values, signs) for part in parts)) if parts else values[sign]


PERMISSIONS = {"~": operator.invert, "&": operator.and_, "|": operator.or_}
BOOLEANS = {"~": operator.not_, "&": lambda left, right: left and right, "|": lambda left, right: left or right}


@given(expressions, st.fixed_dictionaries(dict.fromkeys(NAMED, st.booleans())))
def test_permissions_combine_as_booleans_do(expression, answers):
    combined = build(expression, NAMED, PERMISSIONS)

    assert combined.allows(answers, None) is build(expression, answers, BOOLEANS)


@given(expressions)
def test_what_a_permission_prints_is_how_it_is_written(expression):
    combined = build(expression, NAMED, PERMISSIONS)

    again = eval(repr(combined), {}, NAMED)

    assert again == combined
    assert repr(again) == repr(combined)


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        (has_perm("view_card") | is_owner("owner") & ~is_self, 'has_perm("view_card") | is_owner("owner") & ~is_self'),
        ((anyone | is_self) & ~(is_self & anyone), "(anyone | is_self) & ~(is_self & anyone)"),
        (~(anyone | is_self), "~(anyone | is_self)"),
        (anyone & (is_self & anyone), "anyone & (is_self & anyone)"),
        (anyone & is_self & anyone, "anyone & is_self & anyone"),
        (anyone | (is_self | anyone), "anyone | (is_self | anyone)"),
        (~~anyone, "~~anyone"),
        (has_model_perm("board.add_card"), 'has_model_perm("board.add_card")'),
        (in_the_house, 'same_tenant("board__organization", "memberships__organization")'),
        (is_authenticated, "is_authenticated"),
    ],
)
def test_permissions_print_themselves_with_no_more_parentheses_than_needed(written, printed):
    assert repr(written) == printed


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: is_self and anyone,
        lambda: is_self or anyone,
        lambda: not is_self,
        lambda: bool(is_self & anyone),
        lambda: bool(is_self | anyone),
        lambda: bool(~is_self),
    ],
)
def test_and_or_and_not_are_refused_with_the_remedy(mistake):
    with pytest.raises(TypeError, match=r"Combine permissions with & \| ~, not with and, or, not"):
        mistake()


@pytest.mark.parametrize("combine", [operator.and_, operator.or_])
@pytest.mark.parametrize("other", [True, None, "is_self", lambda viewer, instance: True])
def test_only_permissions_combine_with_permissions(combine, other):
    with pytest.raises(TypeError, match="unsupported operand"):
        combine(anyone, other)
    with pytest.raises(TypeError, match="unsupported operand"):
        combine(other, anyone)


def test_a_permission_says_which_paths_it_reads_also_when_it_is_combined():
    combined = ~is_owner("board__owner") & (same_tenant("board__organization", "memberships__organization") | anyone)

    assert combined.reads == {"board__owner", "board__organization"}
    assert combined.reads_of_user == {"memberships__organization"}
    assert (~combined).reads_of_user == {"memberships__organization"}
    assert has_perm("view_card").reads == has_perm("view_card").reads_of_user == frozenset()


@pytest.mark.parametrize(
    ("model", "path", "fetched"),
    [
        (Card, "owner", ""),
        (Card, "board__owner", "board"),
        (Card, "board__organization", "board"),
        (Card, "board__organization__memberships", "board__organization__memberships"),
        (Card, "title", ""),
        (Card, "hashid", ""),
        (Page, "editors", "editors"),
        (get_user_model(), "memberships__organization", "memberships"),
        (get_user_model(), "no_such__thing", ""),
    ],
)
def test_what_has_to_be_fetched_for_a_path_is_all_but_the_target_of_a_last_foreign_key(model, path, fetched):
    assert relations_on(model, path) == fetched


def test_an_empty_text_is_no_tenant(demo, viewer):
    demo.amira.first_name = ""

    assert not same_tenant("text", "first_name").allows(viewer(demo.amira), Page(text=""))


# All together


@pytest.fixture
def crowd(demo, viewer):
    """Viewers of every kind: the people of the demonstration and some more, one in two languages, and two nobodies."""
    users = [demo.amira, demo.ben, demo.cleo, demo.dev, demo.admin, get_anonymous_user()]
    users += User.objects.bulk_create(User(username=f"user {number}") for number in range(3))
    assign_perm("view_card", users[-1], demo.card)
    for user in users[4:8]:
        Membership.objects.create(user=user, organization=demo.card.board.organization)
        user.user_permissions.add(Grant.objects.get(codename="view_card"))
    return {*map(viewer, users), viewer(demo.cleo, language="de"), viewer(), viewer(host="push.example")}


def fetch(instance):
    return type(instance)._base_manager.get(pk=instance.pk)


def answers_alone(permission, instance, viewers):
    """Those whom a permission allows, asked one by one with an instance of their own; and those for whom it fails."""
    allowed, failed = set(), set()
    for viewer, fresh in refresh(viewers).items():
        try:
            if permission.allows(fresh, fetch(instance)):
                allowed.add(viewer)
        except Exception:
            failed.add(viewer)
    return allowed, failed


def answers_together(permission, instance, viewers):
    rights = Rights(viewers)
    inquiry = Inquiry(rights, fetch(instance))
    allowed = set(permission.among(rights.crowd.viewers, inquiry))
    return allowed, set(inquiry.denied)


BUILT_IN = [
    anyone,
    is_authenticated,
    is_self,
    has_perm("view_card"),
    has_perm("board.view_card"),
    has_perm("view_salary"),
    has_perm("lab.view_card"),
    has_model_perm("view_card"),
    has_model_perm("board.add_card"),
    has_model_perm("lab.view_page"),
    is_owner("owner"),
    is_owner("owner_id"),
    is_owner("board__organization__memberships__user"),
    is_owner("board"),
    is_owner("ownr"),
    in_the_house,
    same_tenant("board", "memberships__organization__boards"),
    same_tenant("title", "username"),
    same_tenant("title", "no_such_name"),
    same_tenant("no_such__name", "username"),
    drf(IsAdminUser),
    drf(~IsAdminUser),
]


@pytest.mark.parametrize("wrap", [lambda asked: asked, operator.invert], ids=["", "~"])
@pytest.mark.parametrize("asked", BUILT_IN, ids=repr)
def test_what_is_told_for_all_together_is_what_each_is_told_alone(demo, crowd, asked, wrap):
    for instance in (demo.card, demo.amira, demo.card.board):
        assert answers_together(wrap(asked), instance, crowd) == answers_alone(wrap(asked), instance, crowd)


async def coroutine():
    return True


def unsure(name, answer_of):
    """A permission that answers one user so and the next user so; an error is raised."""

    def own(viewer, instance):
        answer = answer_of[(viewer.user.pk or 0) % len(answer_of)]
        if isinstance(answer, type):
            raise answer
        return coroutine() if answer == "coroutine" else answer

    return Rule(name, own)


class Unsure(Permission):
    def __init__(self, *answers):
        self.inner = unsure("own", answers)

    def allows(self, viewer, instance):
        return self.inner.answer(viewer, instance)

    def __repr__(self):
        return "Unsure"


class Staff(BasePermission):
    def has_object_permission(self, request, view, instance):
        if request.user.is_anonymous:
            raise ZeroDivisionError
        return request.user.pk % 2 == 0


leaves = st.sampled_from(
    [
        *BUILT_IN,
        unsure("errors", [True, ZeroDivisionError, False]),
        unsure("coroutines", ["coroutine", True, False, False]),
        unsure("truths", [True, 1, False]),
        unsure("lies", [False, None, 0, True, "yes"]),
        Unsure(False, True),
        Unsure(True, "coroutine", KeyError),
        drf(Staff),
    ]
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.builds(operator.invert, inner)
        | st.builds(operator.and_, inner, inner)
        | st.builds(operator.or_, inner, inner)
    ),
    max_leaves=8,
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees, st.data())
def test_any_expression_tells_all_together_what_each_is_told_alone(demo, crowd, tree, data):
    viewers = data.draw(st.sets(st.sampled_from(sorted(crowd, key=repr))))

    assert answers_together(tree, demo.card, viewers) == answers_alone(tree, demo.card, viewers)


@pytest.mark.parametrize("combined", [lambda a: a, lambda a: ~a, lambda a: a | anyone, lambda a: ~(a & anyone)])
@pytest.mark.parametrize("answer", [None, 1, 0, "yes", [], ZeroDivisionError, "coroutine", KeyError, SystemExit])
@pytest.mark.parametrize("make", [lambda *answers: unsure("own", answers), Unsure])
def test_what_is_unknown_is_denied_and_never_turned_into_a_yes(demo, crowd, combined, answer, make):
    allowed, denied = answers_together(combined(make(answer)), demo.card, crowd)

    assert (allowed, denied) == (set(), crowd)


def test_one_whose_answer_is_unknown_is_asked_nothing_more(demo, crowd):
    seen = set()

    def notes(viewer, instance):
        seen.add(viewer)
        return True

    ben = next(viewer for viewer in crowd if viewer.user == demo.ben)

    @permission
    def fails_for_ben(viewer, instance):
        if viewer == ben:
            raise ZeroDivisionError
        return False

    for tree in (fails_for_ben | Rule("notes", notes), ~fails_for_ben & Rule("notes", notes)):
        seen.clear()
        assert answers_together(tree, demo.card, crowd) == (crowd - {ben}, {ben})
        assert seen == crowd - {ben}


def test_only_those_are_asked_for_whom_it_still_matters(demo, crowd):
    seen = []

    def notes(viewer, instance):
        seen.append(viewer)
        return True

    owner, noting = is_owner("owner"), Rule("notes", notes)
    amira = {viewer for viewer in crowd if viewer.user == demo.amira}

    assert answers_together(owner & noting, demo.card, crowd) == (amira, set())
    assert set(seen) == amira
    seen.clear()
    assert answers_together(owner | noting, demo.card, crowd) == (crowd, set())
    assert set(seen) == crowd - amira
    assert len(seen) == len(set(seen))


def test_what_a_built_in_tells_for_all_is_not_what_one_made_of_it_answers(demo, crowd):
    class Careful(type(anyone & anyone)):
        def allows(self, viewer, instance):
            return super().allows(viewer, instance) and viewer.user != demo.ben

    class CarefulRule(Rule):
        def allows(self, viewer, instance):
            return super().allows(viewer, instance) and viewer.user != demo.ben

    class Told(Careful):
        def among(self, viewers, inquiry):
            return super().among(viewers, inquiry) & inquiry.rights.crowd.known

    ben = {viewer for viewer in crowd if viewer.user == demo.ben}
    rule = CarefulRule("rule", anyone.answer, together=anyone.together)
    assert Careful(anyone, anyone).asks_for is None
    for asked in (Careful(anyone, anyone), rule):
        assert answers_together(asked, demo.card, crowd) == (crowd - ben, set())
    assert answers_together(Told(anyone, anyone), demo.card, crowd)[0] == Rights(crowd).crowd.known - ben


def test_an_error_about_all_together_is_an_error_of_those_whom_it_concerns(demo, crowd):
    asked = []

    def together(viewers, instance, rights):
        raise ZeroDivisionError

    def alone(viewer, instance):
        asked.append(viewer)
        return viewer.user != demo.ben

    ben = {viewer for viewer in crowd if viewer.user == demo.ben}
    assert answers_together(Rule("own", alone, together=together), demo.card, crowd) == (crowd - ben, set())
    assert set(asked) == crowd


def test_a_permission_of_another_app_is_denied_to_all_but_superusers_as_it_is_alone(demo, crowd):
    admin = {viewer for viewer in crowd if viewer.user == demo.admin}

    assert answers_together(has_perm("lab.view_card"), demo.card, crowd) == (admin, crowd - admin)


def refused(*asked):
    with connection.cursor() as cursor:
        cursor.execute("SELECT no_such_column")


@pytest.mark.parametrize("asked", [Rule("own", refused), Rule("own", lambda *asked: True, together=refused)])
def test_an_error_of_the_database_is_not_taken_for_an_answer(demo, crowd, asked):
    with pytest.raises(DatabaseError), transaction.atomic():
        answers_together(~asked, demo.card, crowd)


@pytest.mark.parametrize("asked", BUILT_IN, ids=repr)
def test_what_a_rule_tells_for_all_costs_no_more_queries_for_many(demo, viewer, asked):
    users = User.objects.bulk_create(User(username=f"person {number}") for number in range(12))
    everyone = [viewer(user) for user in users]

    def queries(viewers):
        rights = Rights(viewers)
        rights.prefetch_of_users({relations_on(User, path) for path in asked.reads_of_user} - {""})
        inquiry = Inquiry(rights, fetch(demo.card))
        with CaptureQueriesContext(connection) as captured:
            asked.among(set(viewers), inquiry)
        return len(captured)

    assert queries(everyone) <= queries(everyone[:2])


def test_nobody_is_the_user_who_was_never_saved(demo, crowd, monkeypatch):
    monkeypatch.setattr(Card, "reviewer", property(lambda card: User()), raising=False)
    rights = Rights(crowd)

    assert is_owner("reviewer").among(crowd, Inquiry(rights, demo.card)) == set()
    assert is_self.among(crowd, Inquiry(rights, User())) == set()
    assert answers_alone(is_owner("reviewer"), demo.card, crowd) == (set(), set())


def test_an_anonymous_viewer_is_of_no_tenant_also_when_all_are_asked_together(demo, crowd):
    Card.objects.update(public=False)  # as little as an anonymous user is of the staff
    asked = same_tenant("public", "is_staff")

    allowed, _ = answers_together(asked, demo.card, crowd)

    assert allowed == answers_alone(asked, demo.card, crowd)[0]
    assert demo.ben in {viewer.user for viewer in allowed}
    assert not [viewer for viewer in allowed if viewer.user.is_anonymous]


@isolate_apps("lab")
def test_what_is_more_than_a_user_is_not_the_user_themselves(demo, viewer):
    class Employee(User):
        class Meta:
            app_label = "lab"

    class Colleague(User):
        class Meta:
            app_label = "lab"
            proxy = True

    amira = viewer(demo.amira)
    rights = Rights([amira])

    for instance, expected in [(Employee(pk=demo.amira.pk), set()), (Colleague(pk=demo.amira.pk), {amira})]:
        assert is_self.among({amira}, Inquiry(rights, instance)) == expected
        assert is_self.allows(amira, instance) is bool(expected)


# What is asked for


@pytest.mark.parametrize(
    ("asked", "codenames"),
    [
        (has_perm("view_card"), {"view_card"}),
        (has_perm("board.view_card"), {"view_card"}),
        (has_model_perm("view_card"), set()),
        (is_owner("owner") | is_self & ~anyone, set()),
        (has_perm("view_card") | ~has_perm("view_salary") & anyone, {"view_card", "view_salary"}),
        (~has_perm("view_card"), {"view_card"}),
        (permission(lambda viewer, instance: True), None),
        (has_perm("view_card") & drf(IsAdminUser), None),
        (~(Answering(True) | has_perm("view_card")), None),
    ],
)
def test_a_permission_says_which_object_permissions_it_asks_for(asked, codenames):
    assert asked.asks_for == codenames


def test_what_several_ask_for_is_known_when_it_is_known_of_each():
    assert asked_for([]) == frozenset()
    assert asked_for([has_perm("view_card"), has_perm("add_card"), anyone]) == {"view_card", "add_card"}
    assert asked_for([has_perm("view_card"), Answering(True)]) is None


@pytest.mark.parametrize("asked", [asked for asked in BUILT_IN if asked.asks_for is not None], ids=repr)
def test_nothing_is_asked_for_that_a_permission_does_not_say(demo, crowd, asked):
    rights = Rights(crowd)
    rights.read(Card, [demo.card.pk], asked.asks_for)

    with CaptureQueriesContext(connection) as captured:
        asked.among(set(rights.crowd.keys), Inquiry(rights, demo.card))

    assert not [query for query in captured if "objectpermission" in query["sql"]]
