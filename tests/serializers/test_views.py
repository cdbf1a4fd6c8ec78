"""Views that find their object by its hashid, where what is not there, and what is not a hashid, is not found; and
views that name what they answer as a push names it."""

from __future__ import annotations

import pytest
from board.models import Board, Card
from django.contrib.auth import get_user_model
from django.http import HttpResponse
from django.utils import translation
from django.utils.translation import gettext
from django.views.decorators.cache import cache_page
from guardian.shortcuts import assign_perm, remove_perm
from lab.dossiers import DossierSerializer, can_see
from lab.models import Document, Note
from rest_framework import serializers, viewsets
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.test import APIClient, APIRequestFactory, force_authenticate

from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.publications import find
from livegate.permissions import anyone
from livegate.serializers import ETagMixin, FactField, HashidField, HashidLookupMixin
from livegate.serializers.encoding import etag
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


# ETags


class NamedCards(ETagMixin, Cards):
    permission_classes = []


class Fixed(ETagMixin, viewsets.ViewSet):
    """Answers what ``answer`` gives."""

    def retrieve(self, request):
        return self.answer()


def fetch(view, user, method="get", **headers):
    """What a view answers about the card, with everything that is done before it is sent."""
    request = getattr(APIRequestFactory(), method)("/", headers=headers)
    force_authenticate(request, user)
    kwargs = {} if issubclass(view, Fixed) else {"hashid": Card.objects.get().hashid}
    response = view.as_view({"get": "retrieve", "head": "retrieve"})(request, **kwargs)
    return response.render() if isinstance(response, Response) else response


@pytest.fixture
def etags_agree(viewer):
    """Whether somebody's GET is answered with the ETag of their push, or both show nothing; gives the ETag."""

    def agree(path, label, user, language):
        client = APIClient()
        if user.is_authenticated:
            client.force_authenticate(user)
        response = client.get(path, headers={"accept-language": language})
        pair = Pair(viewer(user, language=language), find(label), path.split("/")[3])
        view = evaluate([pair])[pair]
        if view is None:
            assert response.status_code in (401, 404)
            assert "ETag" not in response
            return None
        assert response.content == view.body
        assert response["ETag"] == f'"{view.etag}"'
        assert view.etag == etag(view.body)
        return view.etag

    return agree


def test_a_get_is_answered_with_the_etag_of_the_push_whoever_looks_at_whatever_changes(
    demo, etags_agree, republish, caplog
):
    caplog.set_level("ERROR", "django.request")
    republish(Document, DossierSerializer, to=can_see, queryset=Document.objects.prefetch_related("notes"))
    dossier = Document.objects.create(owner=demo.amira, text="x")
    note = Note.objects.create(document=dossier, text="ü", secret="y")
    assign_perm("lab.view_document", demo.cleo, dossier)
    cleo = encode(get_user_model(), demo.cleo.pk)
    objects = [
        *(("board.Card", f"/api/cards/{demo.card.hashid}/"), ("lab.Document", f"/api/dossiers/{dossier.hashid}/")),
        ("auth.User", f"/api/users/{cleo}/"),
    ]
    changes = [
        lambda: None,
        lambda: Card.objects.update(title="\u2028 <é>", salary=1),
        lambda: Note.objects.filter(pk=note.pk).update(secret="z"),
        lambda: assign_perm("lab.change_document", demo.cleo, dossier),
        lambda: get_user_model().objects.filter(username="cleo").update(email="other@northwind.example"),
        lambda: remove_perm("view_card", demo.cleo, demo.card),
        lambda: Card.objects.update(public=False),
    ]
    people = [demo.amira, demo.ben, demo.cleo, demo.dev, demo.admin, demo.nobody]

    seen = set()
    for change in changes:
        change()
        for user in [get_user_model().objects.get(pk=user.pk) if user.pk else user for user in people]:
            for label, path in objects:
                for language in ("en-us", "de"):
                    seen.add((label, etags_agree(path, label, user, language)))

    # So many different things were seen, and each of them was nothing for somebody.
    found = {label: sum(name == label and tag is not None for name, tag in seen) for label, _ in objects}
    assert found == {"board.Card": 10, "lab.Document": 4, "auth.User": 3}
    assert {(label, None) for label, _ in objects} <= seen


def test_facts_and_words_in_the_viewers_language_are_in_the_etag(demo, viewer, republish):
    def usernames(viewers, cards):
        return {(viewer.user.pk, card.pk): viewer.user.username for viewer in viewers for card in cards}

    class Own(serializers.ModelSerializer):
        id = HashidField()
        username = FactField(usernames, default=None)
        day = serializers.SerializerMethodField()

        class Meta:
            model = Card
            fields = ["id", "username", "day"]

        def get_day(self, card):
            return gettext("Monday")

    class OwnCards(NamedCards):
        serializer_class = Own

    publication = republish(Card, Own, to=anyone)
    seen = set()
    for user in (demo.amira, demo.ben):
        for language in ("en-us", "de"):
            pair = Pair(viewer(user, language=language), publication, demo.card.hashid)
            with translation.override(language):
                response = fetch(OwnCards, user)
            assert response["ETag"] == f'"{evaluate([pair])[pair].etag}"'
            seen.add(response["ETag"])

    assert len(seen) == 4


def test_a_view_with_another_serializer_than_the_push_answers_with_another_etag(demo, viewer):
    pair = Pair(viewer(demo.amira), find("board.Card"), demo.card.hashid)

    response = fetch(NamedCards, demo.amira)

    assert response["ETag"] == f'"{etag(response.content)}"' != f'"{evaluate([pair])[pair].etag}"'


class ShoutingRenderer(JSONRenderer):
    media_type = "application/x-shout"
    format = "shout"

    def render(self, data, *args):
        return super().render(data, *args).upper()


class ManyCards(NamedCards):
    renderer_classes = [*NamedCards.renderer_classes, ShoutingRenderer]


@pytest.mark.parametrize("accept", ["text/html", "application/json; indent=2", "application/x-shout"])
def test_another_representation_is_not_taken_for_the_one_that_is_held(demo, accept):
    held = fetch(ManyCards, demo.amira)

    other = fetch(ManyCards, demo.amira, accept=accept, if_none_match=held["ETag"])

    assert other.status_code == 200
    assert other["ETag"] == f'"{etag(other.content)}"' != held["ETag"]
    assert fetch(ManyCards, demo.amira, if_none_match=other["ETag"]).status_code == 200
    assert held["Vary"] == other["Vary"] == "Accept"


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("sent", ["{}", "W/{}", '"a", {}', 'W/"a",{} , "b"', "*"])
def test_who_holds_it_is_told_so_without_a_body(demo, sent, method):
    held = fetch(NamedCards, demo.amira)

    response = fetch(NamedCards, demo.amira, method, if_none_match=sent.format(held["ETag"]))

    assert (response.status_code, response.content) == (304, b"")
    for header in ("ETag", "Cache-Control", "Vary"):
        assert response[header] == held[header]


@pytest.mark.parametrize("sent", ['"a"', "a", "", 'W/"*"', "{}a", "{0}{0}"])
def test_who_holds_something_else_is_answered_in_full(demo, sent):
    held = fetch(NamedCards, demo.amira)

    response = fetch(NamedCards, demo.amira, if_none_match=sent.format(held["ETag"]))

    assert (response.status_code, response.content) == (200, held.content)


def test_who_wants_it_only_as_it_was_is_told_that_it_is_not(demo):
    held = fetch(NamedCards, demo.amira)

    assert fetch(NamedCards, demo.amira, if_match=held["ETag"]).status_code == 200
    assert fetch(NamedCards, demo.amira, if_match='"a"').status_code == 412


@pytest.mark.parametrize("sent", ["{}", "*"])
def test_who_may_not_see_it_any_more_is_not_told_that_it_has_not_changed(demo, sent):
    client = APIClient()
    client.force_authenticate(demo.dev)
    held = client.get(f"/api/cards/{demo.card.hashid}/")["ETag"]
    Card.objects.update(public=False)

    response = client.get(f"/api/cards/{demo.card.hashid}/", headers={"if-none-match": sent.format(held)})

    assert response.status_code == 404
    assert "ETag" not in response


def test_a_write_is_carried_out_whatever_its_sender_holds(demo):
    client = APIClient()
    client.force_authenticate(demo.amira)
    path = f"/api/cards/{demo.card.hashid}/"

    response = client.patch(path, {"title": "New"}, headers={"if-none-match": "*", "if-match": '"a"'}, format="json")

    assert response.status_code == 200
    assert "ETag" not in response
    assert client.get(path).json()["title"] == "New"


def test_a_list_has_an_etag_as_a_whole(demo):
    client = APIClient()
    client.force_authenticate(demo.amira)
    response = client.get("/api/cards/")

    assert response["ETag"] == f'"{etag(response.content)}"'
    assert client.get("/api/cards/", headers={"if-none-match": response["ETag"]}).status_code == 304


@pytest.mark.parametrize("response", [Response("x", status=206), Response("x", status=404), HttpResponse("x")])
def test_what_is_no_full_answer_of_a_drf_view_is_left_as_it_is(demo, response):
    answered = fetch(type("View", (Fixed,), {"answer": lambda view: response}), demo.amira, if_none_match="*")

    assert answered is response
    assert "ETag" not in answered
    assert "Cache-Control" not in answered


def test_a_browser_asks_before_it_uses_what_it_keeps_and_nobody_else_keeps_it(demo):
    assert fetch(NamedCards, demo.amira)["Cache-Control"] == "private, no-cache"


def test_what_a_view_says_itself_stands(demo):
    headers = {"Cache-Control": "public, max-age=60", "ETag": 'W/"its own"'}
    view = type("View", (Fixed,), {"answer": lambda view: Response("x", headers=headers)})

    response = fetch(view, demo.amira)

    assert {name: response[name] for name in headers} == headers
    assert fetch(view, demo.amira, if_none_match='"its own"').status_code == 304


def test_a_cache_of_pages_gives_nobody_what_was_made_for_another(demo):
    cached = cache_page(60)(NamedCards.as_view({"get": "retrieve"}, serializer_class=WhoSerializer))

    seen = []
    for user in (demo.amira, demo.ben):
        request = APIRequestFactory().get("/")
        force_authenticate(request, user)
        seen.append(cached(request, hashid=demo.card.hashid).render().content)

    assert seen == [b'{"who":"amira"}', b'{"who":"ben"}']


class WhoSerializer(serializers.Serializer):
    who = serializers.SerializerMethodField()

    def get_who(self, card):
        return self.context["request"].user.username
