"""Fields that write keys as hashids, and read nothing else."""

from __future__ import annotations

import json
from types import SimpleNamespace
from uuid import uuid4

import pytest
from board.models import Board, Card, Organization
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured, ObjectDoesNotExist
from django.db import models
from django.test.utils import isolate_apps
from lab import shapes
from lab.models import Document, Page
from rest_framework import serializers

from livegate.permissions.inquiries import Inquiry
from livegate.permissions.rights import Rights
from livegate.serializers import HashidField, HashidRelatedField
from livegate.serializers.hashids import encode
from livegate.serializers.representation import Representation

User = get_user_model()

pytestmark = pytest.mark.django_db


class CardSerializer(serializers.ModelSerializer):
    id = HashidField()
    board = HashidRelatedField(queryset=Board.objects.all())

    class Meta:
        model = Card
        fields = ["id", "board"]


class PageSerializer(serializers.ModelSerializer):
    owner = HashidRelatedField(read_only=True)
    editors = HashidRelatedField(many=True, read_only=True)
    people = HashidRelatedField(many=True, read_only=True, source="editors")
    author = HashidRelatedField(read_only=True, source="owner")

    class Meta:
        model = Page
        fields = ["owner", "editors", "people", "author"]


# HashidField


def test_an_id_is_the_hashid_of_the_instance():
    assert CardSerializer(Card(pk=7, board_id=3)).data == {"id": encode(Card, 7), "board": encode(Board, 3)}


def test_an_id_that_a_client_sends_is_ignored(demo):
    sent = {"id": encode(Card, 7), "board": encode(Board, demo.card.board_id)}

    serializer = CardSerializer(data=sent)

    assert serializer.is_valid()
    assert serializer.validated_data == {"board": demo.card.board}


def test_an_id_is_read_only_whatever_is_asked():
    assert HashidField(read_only=False).read_only


def test_a_serializer_without_a_model_names_it_at_the_field():
    class Named(serializers.Serializer):
        key = HashidField(model=Document)

    pk = uuid4()

    assert Named(SimpleNamespace(pk=pk)).data == {"key": encode(Document, pk)}


def test_the_model_that_the_field_names_comes_before_the_serializers():
    class Named(CardSerializer):
        id = HashidField(model=Board)

    assert Named(Card(pk=7, board_id=3)).data["id"] == encode(Board, 7)


def test_an_id_of_no_model_is_a_mistake_and_the_remedy_is_told():
    class Nameless(serializers.Serializer):
        id = HashidField()

    with pytest.raises(ImproperlyConfigured, match=r"Nameless\.id does not know .* Meta\.model, or the field model="):
        _ = Nameless(SimpleNamespace(pk=7)).data


# HashidRelatedField


def test_a_relation_is_written_without_a_query(demo, django_assert_num_queries):
    card = Card.objects.get()

    with django_assert_num_queries(0):
        shown = CardSerializer(card).data

    assert shown["board"] == encode(Board, demo.card.board_id)


def test_relations_that_can_only_be_read_find_their_model_themselves(demo):
    page = Page.objects.create(owner=demo.amira)
    page.editors.set([demo.ben, demo.cleo])
    amira, ben, cleo = (encode(User, user.pk) for user in (demo.amira, demo.ben, demo.cleo))

    shown = PageSerializer(page).data

    assert shown["owner"] == shown["author"] == amira
    assert sorted(shown["editors"]) == sorted(shown["people"]) == sorted([ben, cleo])


class OfAQueryset(HashidRelatedField):
    """Has its queryset by a method, as one that is of the user has it."""

    def get_queryset(self):
        return User.objects.all()


class Modelless(serializers.Serializer):
    owner = OfAQueryset()
    editors = OfAQueryset(many=True)


class ModellessWithMeta(Modelless):
    class Meta:
        guards = {}


@pytest.mark.parametrize("serializer", [Modelless, ModellessWithMeta])
def test_in_a_serializer_without_a_model_the_queryset_tells_whose_ids_are_written(demo, serializer):
    page = Page.objects.create(owner=demo.amira)
    page.editors.set([demo.ben])

    assert serializer(page).data == {"owner": encode(User, demo.amira.pk), "editors": [encode(User, demo.ben.pk)]}


@pytest.mark.parametrize("many", [False, True])
def test_a_relation_whose_model_nothing_tells_is_a_mistake_and_the_remedy_is_told(demo, many):
    class Nameless(serializers.Serializer):
        people = HashidRelatedField(read_only=True, many=many, source="editors" if many else "owner")

    page = Page.objects.create(owner=demo.amira)
    page.editors.set([demo.ben])

    with pytest.raises(ImproperlyConfigured, match=r"Nameless\.people does not know .* Meta\.model, or .* queryset="):
        _ = Nameless(page).data


def test_a_relation_to_nobody_is_null(db):
    shown = PageSerializer(Page.objects.create()).data

    assert shown == {"owner": None, "author": None, "editors": [], "people": []}


def test_a_relation_is_read_as_the_instance_that_the_hashid_stands_for(demo):
    serializer = CardSerializer(data={"board": encode(Board, demo.card.board_id)})

    assert serializer.is_valid()
    assert serializer.validated_data["board"] == demo.card.board


def test_several_are_read_as_several(demo):
    class Editors(serializers.Serializer):
        editors = HashidRelatedField(many=True, queryset=User.objects.all())

    serializer = Editors(data={"editors": [encode(User, demo.ben.pk), encode(User, demo.cleo.pk)]})

    assert serializer.is_valid()
    assert serializer.validated_data["editors"] == [demo.ben, demo.cleo]


@pytest.mark.parametrize("sent", [7, True, ["7sd8f"], {"id": "7sd8f"}, 1.5])
def test_an_id_that_is_no_text_is_of_the_wrong_type(db, sent):
    serializer = CardSerializer(data={"board": sent})

    assert not serializer.is_valid()
    (error,) = serializer.errors["board"]
    assert error.code == "incorrect_type"
    assert error == f"Incorrect type. Expected an id as text, received {type(sent).__name__}."


def test_a_malformed_a_missing_and_a_foreign_id_look_the_same(demo):
    pk = demo.card.board_id
    malformed, missing, foreign = "!", encode(Board, pk + 10_000), encode(Organization, pk)

    answers = []
    for sent in (malformed, "a" * 200_000, str(pk), missing, foreign):
        serializer = CardSerializer(data={"board": sent})
        assert not serializer.is_valid()
        answers.append(serializer.errors)

    assert answers == [{"board": ["Invalid id: there is no such object."]}] * 5
    assert {answer["board"][0].code for answer in answers} == {"does_not_exist"}


def test_an_instance_outside_of_the_queryset_does_not_exist(demo):
    field = HashidRelatedField(queryset=Board.objects.exclude(pk=demo.card.board_id))

    with pytest.raises(serializers.ValidationError, match="there is no such object") as raised:
        field.to_internal_value(encode(Board, demo.card.board_id))

    assert not isinstance(raised.value, ObjectDoesNotExist)


@isolate_apps("lab")
def test_a_relation_to_another_field_than_the_key_is_written_as_the_hashid_of_the_key():
    class Desk(models.Model):
        number = models.IntegerField(unique=True)

        class Meta:
            app_label = "lab"

    class Chair(models.Model):
        desk = models.ForeignKey(Desk, on_delete=models.CASCADE, to_field="number")

        class Meta:
            app_label = "lab"

    class ChairSerializer(serializers.ModelSerializer):
        desk = HashidRelatedField(read_only=True)

        class Meta:
            model = Chair
            fields = ["desk"]

    assert ChairSerializer(Chair(desk=Desk(pk=1, number=77))).data == {"desk": encode(Desk, 1)}


def test_a_relation_whose_queryset_is_of_the_user_is_shown_to_all_alike(demo, viewer):
    page = Page.objects.create(owner=demo.amira)
    rights = Rights(viewer(user) for user in (demo.ben, demo.cleo, demo.nobody))

    made = Representation(shapes.Related, Inquiry(rights, page), rights.crowd.viewers)

    [(body, audience)] = made.bodies
    assert json.loads(body) == {"owner": encode(User, demo.amira.pk)}
    assert (len(audience), made.alone) == (3, {})
