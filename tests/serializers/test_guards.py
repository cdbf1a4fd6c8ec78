"""Guards: a field that a viewer may not see is not read, not shown and not written, wherever the serializer stands."""

from __future__ import annotations

import gc
import weakref

import pytest
from board.models import Card
from board.serializers import CardSerializer as BoardsCardSerializer
from django.core.exceptions import ImproperlyConfigured
from lab.models import Document, Note
from lab.serializers import DocumentSerializer
from rest_framework import serializers

from livegate.permissions import anyone, is_owner, permission
from livegate.permissions.requests import retrieval
from livegate.serializers import PerUserSerializerMixin

pytestmark = pytest.mark.django_db


class CardSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    class Meta:
        model = Card
        fields = ["title", "salary"]
        guards = {"salary": is_owner("owner")}


@permission
def trusted(viewer, thing):
    return thing.trusts


class Thing:
    """Something with a secret: whoever reads it without trust fails."""

    def __init__(self, trusts, inner=None):
        self.trusts, self.inner = trusts, inner

    @property
    def secret(self):
        assert self.trusts, "the secret was read"
        return "secret"


class ThingSerializer(PerUserSerializerMixin, serializers.Serializer):
    inner = serializers.SerializerMethodField()
    secret = serializers.CharField()

    class Meta:
        guards = {"secret": trusted}

    def get_inner(self, thing):
        return thing.inner and self.to_representation(thing.inner)


@pytest.fixture
def context(viewer):
    """The context of a serializer in a view that answers a user."""
    return lambda user=None: {"request": retrieval(viewer(user), Card(pk=3)).request}


# Reading


def test_a_field_that_the_viewer_may_not_see_is_absent(demo, context):
    shown = CardSerializer(demo.card, context=context(demo.amira)).data
    hidden = CardSerializer(demo.card, context=context(demo.cleo)).data

    assert shown == {"title": "Platform engineer", "salary": 84_000}
    assert hidden == {"title": "Platform engineer"}


@pytest.mark.parametrize(
    ("who", "sees"),
    [
        ("amira", {"notes", "salary", "board"}),
        ("ben", {"notes", "salary", "board"}),
        ("cleo", {"notes", "board"}),
        ("dev", set()),
        ("nobody", set()),
        ("admin", set()),  # of no organization
    ],
)
def test_a_get_and_a_push_leave_out_the_same_fields(demo, context, get, who, sees):
    user = getattr(demo, who)

    of_get = get(f"/api/cards/{demo.card.hashid}/", user)
    of_push = BoardsCardSerializer(demo.card, context=context(user)).data

    assert of_get == of_push
    assert of_get.keys() == {"id", "title", "status", "public", "owner"} | sees


def test_each_row_of_a_list_has_its_own_answer(demo, context, get):
    Card.objects.create(board=demo.card.board, owner=demo.cleo, title="Hers", public=True)
    cards = Card.objects.order_by("title")

    rows = CardSerializer(cards, many=True, context=context(demo.cleo)).data

    assert rows == [{"title": "Hers", "salary": 0}, {"title": "Platform engineer"}]
    assert {row["title"]: "salary" in row for row in get("/api/cards/", demo.cleo)} == {
        "Hers": True,
        "Platform engineer": False,
    }


@pytest.mark.parametrize(("who", "sees"), [("amira", True), ("cleo", False), ("nobody", False)])
def test_a_nested_serializer_keeps_its_own_guards(demo, context, who, sees):
    shown = BoardsCardSerializer(demo.card, context=context(getattr(demo, who))).data

    assert ("email" in shown["owner"]) is sees


@pytest.mark.parametrize(("who", "sees"), [("amira", True), ("cleo", False), ("nobody", False)])
def test_nested_rows_keep_their_own_guards(demo, context, who, sees):
    document = Document.objects.create(owner=demo.amira)
    for text in ("one", "two"):
        Note.objects.create(document=document, text=text, secret="secret")

    notes = DocumentSerializer(document, context=context(getattr(demo, who))).data["notes"]

    assert [note["text"] for note in notes] == ["one", "two"]
    assert [note.get("secret") for note in notes] == ["secret" if sees else None] * 2
    assert [("secret" in note) for note in notes] == [sees] * 2


def test_a_field_that_the_viewer_may_not_see_is_not_read(context):
    assert ThingSerializer(Thing(trusts=False), context=context()).data == {"inner": None}
    assert ThingSerializer(Thing(trusts=True), context=context()).data == {"inner": None, "secret": "secret"}


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_a_serializer_within_itself_keeps_the_answers_apart(context, outer, inner):
    shown = ThingSerializer(Thing(outer, Thing(inner)), context=context()).data

    assert ("secret" in shown, "secret" in shown["inner"]) == (outer, inner)


@pytest.mark.parametrize("trusts", [True, False])
def test_a_failed_representation_leaves_nothing_hidden_or_shown_for_the_next(context, trusts):
    serializer = ThingSerializer(context=context())
    broken, next_one = Thing(trusts, inner=object()), Thing(not trusts)

    with pytest.raises(AttributeError):
        serializer.to_representation(broken)

    assert serializer._hidden == frozenset()
    assert ("secret" in serializer.to_representation(next_one)) is (not trusts)


def test_a_hidden_field_is_left_out_also_where_drf_reads_it_nevertheless(demo, context):
    class Reading(CardSerializer):
        _readable_fields = property(lambda self: self.fields.values())

    assert Reading(demo.card, context=context(demo.cleo)).data == {"title": "Platform engineer"}
    assert Reading(demo.card, context=context(demo.amira)).data["salary"] == 84_000


def test_a_guard_that_fails_shows_nothing_at_all(context):
    class Failing(ThingSerializer):
        class Meta:
            guards = {"inner": anyone, "secret": permission(lambda viewer, thing: 1 / 0)}

    with pytest.raises(ZeroDivisionError):
        _ = Failing(Thing(trusts=True), context=context()).data


def test_a_guard_that_does_not_answer_shows_nothing_at_all(context):
    class Unanswered(ThingSerializer):
        class Meta:
            guards = {"secret": permission(lambda viewer, thing: "yes")}

    with pytest.raises(TypeError, match="answers True or False"):
        _ = Unanswered(Thing(trusts=True), context=context()).data


@pytest.mark.parametrize("who", ["amira", "cleo"])
def test_a_list_of_the_applications_own_kind_stays_of_that_kind(demo, context, who):
    class Counted(serializers.ListSerializer):
        @property
        def data(self):
            return [{"count": len(self.instance)}, *super().data]

    class Own(CardSerializer):
        class Meta(CardSerializer.Meta):
            list_serializer_class = Counted

    rows = Own([demo.card], many=True, context=context(getattr(demo, who))).data

    assert rows[0] == {"count": 1}
    assert ("salary" in rows[1]) is (who == "amira")


def test_a_list_takes_what_drf_takes(demo, context):
    class Board(serializers.Serializer):
        cards = CardSerializer(many=True)

    shown = [{"title": "Platform engineer"}]

    for cards in (Card.objects.all(), Card.objects, [demo.card], (demo.card,), {demo.card}):
        assert CardSerializer(cards, many=True, context=context()).data == shown
    assert CardSerializer((card for card in [demo.card]), many=True, context=context()).data == shown
    assert Board(demo.card.board, context=context()).data == {"cards": shown}


# Writing


@pytest.mark.parametrize(
    ("who", "written"),
    [("amira", {"title": "New", "salary": 1}), ("cleo", {"title": "New"}), ("nobody", {"title": "New"})],
)
@pytest.mark.parametrize("partial", [True, False])
def test_what_is_sent_for_a_hidden_field_is_ignored_on_an_update(demo, context, who, written, partial):
    sent = {"title": "New", "salary": 1}

    serializer = CardSerializer(demo.card, data=sent, partial=partial, context=context(getattr(demo, who)))

    assert serializer.is_valid(raise_exception=True)
    assert serializer.validated_data == written
    serializer.save()
    assert Card.objects.get().salary == written.get("salary", 84_000)
    assert serializer.data == written


def test_what_is_wrong_with_a_hidden_field_is_not_told(demo, context):
    serializer = CardSerializer(demo.card, data={"title": "New", "salary": "wrong"}, context=context(demo.cleo))

    assert serializer.is_valid()


def test_a_guarded_field_can_be_written_on_a_create(demo, context):
    serializer = CardSerializer(data={"title": "New", "salary": 1}, context=context(demo.cleo))

    assert serializer.is_valid()
    assert serializer.validated_data == {"title": "New", "salary": 1}
    card = serializer.save(owner=demo.amira, board=demo.card.board)
    assert card.salary == 1
    assert serializer.data == {"title": "New"}  # it is not hers


class PageSerializer(serializers.Serializer):
    card = CardSerializer()


@pytest.mark.parametrize("who", ["amira", "cleo"])
def test_in_an_update_no_guarded_field_can_be_written_where_the_instance_is_not_known(demo, context, who):
    sent, shared = {"title": "New", "salary": 1}, {"context": context(getattr(demo, who))}

    nested = PageSerializer(object(), data={"card": sent}, **shared)
    many = CardSerializer([demo.card], data=[sent], many=True, **shared)

    assert nested.is_valid()
    assert nested.validated_data == {"card": {"title": "New"}}
    assert many.is_valid()
    assert many.validated_data == [{"title": "New"}]


def test_in_a_create_guarded_fields_can_be_written_nested_and_one_of_many(demo, context):
    sent, shared = {"title": "New", "salary": 1}, {"context": context(demo.cleo)}

    nested = PageSerializer(data={"card": sent}, **shared)
    many = CardSerializer(data=[sent], many=True, **shared)

    assert nested.is_valid()
    assert nested.validated_data == {"card": sent}
    assert many.is_valid()
    assert many.validated_data == [sent]


# Mistakes


@pytest.mark.parametrize("base", [serializers.ModelSerializer, serializers.Serializer, serializers.BaseSerializer])
def test_the_mixin_named_last_would_guard_nothing_and_is_refused(base):
    with pytest.raises(TypeError, match="Name it first: class CardSerializer"):

        class Wrong(base, PerUserSerializerMixin):
            pass


def test_the_mixin_may_be_named_on_a_mixin_of_the_applications_own(demo, context):
    class Own(PerUserSerializerMixin):
        pass

    class Right(Own, serializers.ModelSerializer):
        class Meta(CardSerializer.Meta):
            pass

    assert Right(demo.card, context=context(demo.cleo)).data == {"title": "Platform engineer"}


@pytest.mark.parametrize("written", [False, True])
def test_a_misspelt_guard_is_an_error_as_it_would_guard_nothing(demo, context, written):
    class Misspelt(CardSerializer):
        class Meta(CardSerializer.Meta):
            guards = {"salary": anyone, "salaray": is_owner("owner"), "ttile": anyone}

    serializer = Misspelt(demo.card, data={} if written else serializers.empty, context=context(demo.amira))

    with pytest.raises(ImproperlyConfigured, match="Misspelt guards what is no field of it: salaray, ttile"):
        _ = serializer.is_valid() if written else serializer.data


def test_a_misspelt_guard_is_an_error_without_a_model_too(context):
    class Misspelt(ThingSerializer):
        class Meta:
            guards = {"sceret": trusted}

    with pytest.raises(ImproperlyConfigured, match="sceret"):
        _ = Misspelt(Thing(trusts=True), context=context()).data


def test_a_serializer_may_show_less_than_the_one_it_has_its_guards_from(demo, context):
    class Shorter(CardSerializer):
        class Meta(CardSerializer.Meta):
            fields = ["title"]

    assert Shorter(demo.card, context=context(demo.cleo)).data == {"title": "Platform engineer"}


@pytest.mark.parametrize("given", [{}, {"context": {}}, {"context": {"request": None}}])
def test_without_a_request_there_is_nobody_to_ask_about_and_the_remedy_is_told(demo, given):
    with pytest.raises(ImproperlyConfigured, match=r'CardSerializer has guards.*Pass the request: context={"request"'):
        _ = CardSerializer(demo.card, **given).data


@pytest.mark.parametrize("meta", [{}, {"guards": {}}])
def test_a_serializer_without_guards_needs_no_request(demo, meta):
    base = type("Meta", (), {"model": Card, "fields": ["title"], **meta})
    unguarded = type("Unguarded", (PerUserSerializerMixin, serializers.ModelSerializer), {"Meta": base})

    serializer = unguarded(demo.card, data={"title": "New"})

    assert unguarded(demo.card).data == {"title": "Platform engineer"}
    assert serializer.is_valid()


def test_a_guard_is_not_lost_in_a_subclass_whose_meta_forgets_its_parent(demo, viewer):
    class Detail(BoardsCardSerializer):
        class Meta:
            model = Card
            fields = ["id", "title", "salary"]

    class Open(BoardsCardSerializer):
        class Meta:
            model = Card
            fields = ["id", "title", "salary"]
            guards = {"salary": anyone}

    context = {"request": retrieval(viewer(demo.dev), demo.card).request}

    assert Detail(demo.card, context=context).data.keys() == {"id", "title"}
    assert Open(demo.card, context=context).data.keys() == {"id", "title", "salary"}


def test_a_serializer_class_that_was_made_for_one_view_is_not_kept(demo, viewer):
    context = {"request": retrieval(viewer(demo.dev), demo.card).request}

    def show():
        class One(BoardsCardSerializer):
            class Meta(BoardsCardSerializer.Meta):
                pass

        assert One(demo.card, context=context).data
        return weakref.ref(One)

    made = [show() for _ in range(3)]
    gc.collect()

    assert [reference() for reference in made] == [None] * 3


def test_in_a_request_without_a_user_the_viewer_is_anonymous(demo, rf):
    request = rf.get("/")
    request.user = None

    assert "salary" not in BoardsCardSerializer(demo.card, context={"request": request}).data


def test_a_guard_on_what_the_model_has_but_the_serializer_calls_otherwise_is_told_and_shows_nothing(demo, viewer):
    class Renames(BoardsCardSerializer):
        pay = serializers.IntegerField(source="salary")

        class Meta:
            model = Card
            fields = ["id", "pay"]
            guards = {"viewed": is_owner("owner")}

    class Dynamic(BoardsCardSerializer):
        class Meta(BoardsCardSerializer.Meta):
            guards = {"extra": is_owner("owner")}

        def get_fields(self):
            return {**super().get_fields(), "extra": serializers.CharField(source="title")}

    context = {"request": retrieval(viewer(demo.dev), demo.card).request}

    with pytest.raises(ImproperlyConfigured, match="viewed"):
        Renames(demo.card, context=context).data  # noqa: B018
    assert "extra" not in Dynamic(demo.card, context=context).data


def test_a_narrower_version_of_a_serializer_keeps_guards_that_it_has_no_use_for(demo, viewer):
    class All(PerUserSerializerMixin, serializers.ModelSerializer):
        class Meta:
            model = Card
            fields = "__all__"
            guards = {"salary": is_owner("owner")}

    class Narrow(All):
        class Meta(All.Meta):
            fields = ["title"]

    class Excluding(PerUserSerializerMixin, serializers.ModelSerializer):
        class Meta:
            model = Card
            exclude = ["notes"]
            guards = {"notes": is_owner("owner")}

    context = {"request": retrieval(viewer(demo.dev), demo.card).request}

    assert "salary" not in All(demo.card, context=context).data
    assert Narrow(demo.card, context=context).data == {"title": "Platform engineer"}
    with pytest.raises(ImproperlyConfigured, match="notes"):
        Excluding(demo.card, context=context).data  # noqa: B018
