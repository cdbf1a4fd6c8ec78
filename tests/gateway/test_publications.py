"""publish: what it takes, what it refuses, and who is related to whom."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from board.models import Card
from board.serializers import CardSerializer, OwnUserSerializer, PublicUserSerializer
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Manager
from lab.models import Document, ForeignChild, ForeignProxy, Page, Slug, Unpublished

from livegate.gateway import publications
from livegate.gateway.publications import all_publications, find, publish, relatives
from livegate.permissions import anyone


@pytest.fixture(autouse=True)
def own_register(monkeypatch):
    monkeypatch.setattr(publications, "_publications", dict(publications._publications))


def test_a_publication_is_found_by_the_label_of_its_model():
    publication = publish(Unpublished, CardSerializer, to=anyone)

    assert find("lab.Unpublished") is publication
    assert publication.label == "lab.Unpublished"
    assert find("lab.unpublished") is None


def test_a_publication_is_printed_by_its_label():
    assert repr(find("board.Card")) == "the publication of board.Card"


def test_without_a_permission_it_takes_the_object_permission_to_view():
    assert repr(publish(Unpublished, CardSerializer).permission) == 'has_perm("view_unpublished")'


def test_a_model_that_is_published_twice_is_not_published():
    publish(Unpublished, CardSerializer, to=anyone)
    publish(Unpublished, CardSerializer)

    assert find("lab.Unpublished") is None
    assert len([publication for publication in all_publications() if publication.model is Unpublished]) == 2


@pytest.mark.parametrize(
    ("arguments", "options", "error", "says"),
    [
        ((Page, CardSerializer), {"to": "anyone"}, TypeError, "is_owner"),
        ((Page, "CardSerializer"), {}, TypeError, "serializer class"),
        ((ForeignProxy, CardSerializer), {"watch": "name"}, TypeError, "list of field names"),
        ((ForeignProxy, CardSerializer), {"watch": ["name", "nme"]}, ImproperlyConfigured, "names nme"),
        ((Document, CardSerializer), {"watch": ["notes"]}, ImproperlyConfigured, "notify"),
        ((Slug, CardSerializer), {}, ImproperlyConfigured, "primary key"),
        ((Page, CardSerializer), {"queryset": Page.objects.all()[:5]}, ImproperlyConfigured, "filtered"),
        (
            (Page, CardSerializer),
            {"queryset": Page.objects.union(Page.objects.all())},
            ImproperlyConfigured,
            "filtered",
        ),
    ],
)
def test_what_can_not_be_published_is_refused_with_the_remedy(arguments, options, error, says):
    with pytest.raises(error, match=says):
        publish(*arguments, **options)


def test_the_serializer_is_chosen_for_the_viewer_and_the_instance(viewer):
    user, other = get_user_model()(pk=1), get_user_model()(pk=2)

    publication = find("auth.User")

    assert publication.serializer_for(viewer(user), user) is OwnUserSerializer
    assert publication.serializer_for(viewer(other), user) is PublicUserSerializer
    assert find("board.Card").serializer_for(viewer(user), Card()) is CardSerializer


@pytest.mark.parametrize("chosen", [None, CardSerializer(), "CardSerializer"])
def test_what_is_chosen_and_is_no_serializer_class_is_an_error(viewer, chosen):
    publication = publish(Unpublished, lambda viewer, instance: chosen)

    with pytest.raises(TypeError, match="no serializer class"):
        publication.serializer_for(viewer(AnonymousUser()), Unpublished())


def test_what_the_application_has_a_say_in_may_be_another_each_time():
    publication = publish(Unpublished, CardSerializer)
    manager = type("Todays", (Manager,), {"get_queryset": lambda manager: Unpublished.objects.none()})()
    with_manager = replace(publication, model=SimpleNamespace(_default_manager=manager))

    assert publication.is_stable
    assert not with_manager.is_stable
    assert not replace(publication, given_queryset=Unpublished.objects.all()).is_stable


@pytest.mark.django_db
def test_a_queryset_narrows_what_can_be_shown_and_is_read_anew_each_time():
    publication = publish(Unpublished, CardSerializer, queryset=Unpublished.objects.filter(name="shown"))
    Unpublished.objects.create(name="hidden")
    assert list(publication.queryset) == []

    shown = Unpublished.objects.create(name="shown")
    assert list(publication.queryset) == [shown]


def test_models_that_share_rows_are_related_and_others_are_not():
    assert {publication.label for publication in relatives(ForeignChild)} == {
        "lab.Foreign",
        "lab.ForeignProxy",
        "lab.ForeignChild",
    }
    assert [publication.label for publication in relatives(Page)] == ["lab.Page"]
    assert list(relatives(Unpublished)) == []


def test_what_is_put_on_record_is_one_of_the_levels():
    with pytest.raises(ImproperlyConfigured, match="off, subscriptions, showings, strict"):
        publish(Card, CardSerializer, record="everything")
