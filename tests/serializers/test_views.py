"""Views that find their object by its hashid: what is not there, and what is not a hashid, is not found."""

from __future__ import annotations

import pytest
from board.models import Board, Card
from rest_framework import serializers, viewsets
from rest_framework.permissions import BasePermission
from rest_framework.test import APIRequestFactory, force_authenticate

from livegate.serializers import HashidField, HashidLookupMixin
from livegate.serializers.hashids import encode

pytestmark = pytest.mark.django_db


class IsOwner(BasePermission):
    def has_object_permission(self, request, view, card):
        return card.owner == request.user


class CardSerializer(serializers.ModelSerializer):
    id = HashidField()

    class Meta:
        model = Card
        fields = ["id", "title"]


class Cards(HashidLookupMixin, viewsets.ReadOnlyModelViewSet):
    queryset = Card.objects.all()
    serializer_class = CardSerializer
    permission_classes = [IsOwner]


def answer(view, user, **kwargs):
    request = APIRequestFactory().get("/")
    force_authenticate(request, user)
    return view.as_view({"get": "retrieve"})(request, **kwargs)


def test_an_object_is_found_by_its_hashid(demo):
    response = answer(Cards, demo.amira, hashid=demo.card.hashid)

    assert response.status_code == 200
    assert response.data == {"id": demo.card.hashid, "title": demo.card.title}


def test_the_url_may_call_it_otherwise(demo):
    class Renamed(Cards):
        lookup_url_kwarg = "card"

    assert answer(Renamed, demo.amira, card=demo.card.hashid).status_code == 200


def test_malformed_missing_and_foreign_hashids_are_not_found_alike(demo):
    pk = demo.card.pk
    asked = ["!", "a" * 200_000, str(pk), encode(Card, pk + 1), encode(Board, pk)]

    responses = [answer(Cards, demo.amira, hashid=hashid) for hashid in asked]

    assert [response.status_code for response in responses] == [404] * len(asked)
    assert {str(response.data["detail"]) for response in responses} == {"Not found."}


def test_permissions_on_the_object_are_asked(demo):
    assert answer(Cards, demo.ben, hashid=demo.card.hashid).status_code == 403


def test_an_object_that_the_view_filters_out_is_not_found(demo):
    class Hiding:
        def filter_queryset(self, request, queryset, view):
            return queryset.none()

    class Filtered(Cards):
        filter_backends = [Hiding]

    assert answer(Filtered, demo.amira, hashid=demo.card.hashid).status_code == 404


@pytest.mark.parametrize("who", ["dev", "nobody"])
def test_in_the_example_forbidden_looks_as_gone_and_as_malformed(demo, get, who):
    Card.objects.update(public=False)
    user, forbidden = getattr(demo, who), demo.card.hashid
    gone, malformed = encode(Card, demo.card.pk + 1), "-"

    assert [get(f"/api/cards/{hashid}/", user) for hashid in (forbidden, gone, malformed)] == [404] * 3
