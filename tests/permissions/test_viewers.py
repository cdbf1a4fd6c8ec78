"""Viewers: who looks, in which language, time zone and host; and whether they are still there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Permission
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.db import models
from django.test import RequestFactory
from django.utils import timezone, translation
from django.utils.functional import SimpleLazyObject
from guardian.shortcuts import assign_perm
from lab.models import Document, Page
from rest_framework.request import Request

from livegate.permissions import Viewer, has_model_perm, has_perm
from livegate.permissions import viewers as viewers_module
from livegate.permissions.viewers import LOCALE_MIDDLEWARE, refresh

User = get_user_model()

# Said here, for pytest-django does not see that ``demo`` asks for it, and would leave the real database in its place.
pytestmark = pytest.mark.django_db


def handshake(*headers: tuple[str, str], host: str = "testserver", **scope: object) -> dict[str, object]:
    sent = [("host", host), *headers]
    return {"type": "websocket", "headers": [(n.encode(), v.encode()) for n, v in sent], **scope}


@pytest.mark.parametrize(("socket", "scheme"), [("ws", "http"), ("wss", "https"), ("gopher", "http"), (None, "http")])
def test_a_socket_has_the_scheme_of_the_pages_around_it(socket, scheme):
    scope = handshake() if socket is None else handshake(scheme=socket)

    assert Viewer.of_scope(scope).scheme == scheme


@pytest.mark.parametrize(
    ("named", "host"),
    [
        ("push.example", "push.example"),
        ("push.example:8000", "push.example:8000"),
        ("evil.example", ""),
        ("push.example/../evil", ""),
    ],
)
def test_a_host_that_is_not_ours_is_no_host(named, host):
    assert Viewer.of_scope(handshake(host=named)).host == host


def test_a_client_that_names_no_host_means_the_server_that_it_reached():
    assert Viewer.of_scope({"server": ("127.0.0.1", 8000)}).host == "127.0.0.1:8000"
    assert Viewer.of_scope({}).host == ""


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (("accept-language", "de;q=0.7, fr"), "fr"),
        (("accept-language", "tlh"), "en"),
        (("cookie", "django_language=pt-br"), "pt-br"),
    ],
)
def test_the_language_of_a_socket_is_the_one_that_a_get_is_answered_in(header, language):
    with translation.override("nl"):  # whatever is active here does not count
        viewer = Viewer.of_scope(handshake(header))

    assert viewer.language == language


def test_without_the_locale_middleware_the_language_is_that_of_the_settings(settings):
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if name != LOCALE_MIDDLEWARE]
    settings.LANGUAGE_CODE = "sv"

    assert Viewer.of_scope(handshake(("accept-language", "de"))).language == "sv"


def test_the_time_zone_of_a_socket_is_that_of_the_settings(settings):
    settings.TIME_ZONE = "Asia/Tokyo"

    with timezone.override("Africa/Cairo"):
        assert Viewer.of_scope(handshake()).time_zone == "Asia/Tokyo"


def test_a_middleware_that_knows_better_sets_language_and_time_zone():
    scope = handshake(("accept-language", "de"), language="it", time_zone="Europe/Rome")

    viewer = Viewer.of_scope(scope)

    assert (viewer.language, viewer.time_zone) == ("it", "Europe/Rome")


@pytest.mark.parametrize("scope", [{}, {"user": None}, {"user": AnonymousUser()}])
def test_a_socket_without_a_user_is_anonymous(scope):
    assert Viewer.of_scope(scope).user.is_anonymous


def test_the_viewer_of_a_request_sees_what_is_active_now():
    user = User(pk=7)
    request = RequestFactory().get("/", secure=True, headers={"host": "push.example"})
    request.user = user

    with translation.override("de"), timezone.override("Europe/Berlin"):
        viewer = Viewer.of_request(request)

    assert viewer == Viewer(user, "de", "Europe/Berlin", "https", "push.example")


def test_the_viewer_of_a_request_has_a_language_and_a_host_of_ours_whatever_comes(settings):
    settings.LANGUAGE_CODE = "sv"
    request = RequestFactory().get("/", headers={"host": "evil.example"})
    request.user = AnonymousUser()

    with translation.override(None):
        viewer = Viewer.of_request(request)

    assert (viewer.language, viewer.host) == ("sv", "")


def test_a_request_of_drf_is_as_good_as_one_of_django():
    plain = RequestFactory().get("/")
    plain.user = User(pk=7)
    wrapped = Request(plain)
    wrapped.user = User(pk=7)

    assert Viewer.of_request(wrapped) == Viewer.of_request(plain)


def test_viewers_are_equal_when_user_and_circumstances_are(viewer):
    ann = viewer(User(pk=7))
    lazy = viewer(SimpleLazyObject(lambda: User(pk=7)))

    assert viewer(User(pk=7)) == ann == lazy == ann
    assert {viewer(User(pk=7)), ann, lazy} == {ann}
    assert viewer() == viewer()
    assert viewer() != ann


@pytest.mark.parametrize(
    "other", [{"language": "de"}, {"time_zone": "Asia/Tokyo"}, {"scheme": "https"}, {"host": "push.example"}]
)
def test_viewers_differ_in_whatever_may_shape_their_view(viewer, other):
    assert viewer(User(pk=7)) != viewer(User(pk=7), **other)


def test_within_the_locale_texts_and_times_are_the_viewers(viewer):
    before = translation.get_language(), timezone.get_current_timezone_name()

    with viewer(language="de", time_zone="Asia/Tokyo").locale():
        within = translation.gettext("Yes"), timezone.get_current_timezone_name()

    assert within == ("Ja", "Asia/Tokyo")
    assert (translation.get_language(), timezone.get_current_timezone_name()) == before


def test_an_error_within_the_locale_leaves_nothing_of_it_behind(viewer):
    before = translation.get_language(), timezone.get_current_timezone_name()

    with pytest.raises(ZeroDivisionError), viewer(language="de", time_zone="Asia/Tokyo").locale():
        raise ZeroDivisionError
    with pytest.raises(LookupError), viewer(language="de", time_zone="Atlantis/Capital").locale():
        pass

    assert (translation.get_language(), timezone.get_current_timezone_name()) == before


def test_a_viewers_request_builds_their_links_and_names_them(viewer):
    user = User(pk=7)

    request = viewer(user, scheme="https", host="push.example").request()

    assert request.build_absolute_uri("/cards/") == "https://push.example/cards/"
    assert request.user is user
    assert (request.method, request.GET, request.COOKIES) == ("GET", {}, {})


def test_without_a_host_of_ours_no_links_are_built(viewer):
    with pytest.raises(DisallowedHost):
        viewer(host="").request().build_absolute_uri("/cards/")


def test_a_viewer_made_from_a_viewers_request_is_the_same_viewer(viewer):
    original = viewer(User(pk=7), language="de", time_zone="Asia/Tokyo", scheme="https", host="push.example")

    with original.locale():
        assert Viewer.of_request(original.request()) == original


def test_viewers_are_refreshed_in_one_query(demo, viewer, django_assert_num_queries):
    users = [demo.amira, demo.ben, demo.cleo, demo.amira]
    viewers = [viewer(), *map(viewer, users), viewer(demo.ben, language="de")]

    with django_assert_num_queries(1):
        fresh = refresh(viewers)

    assert fresh == {one: one for one in viewers}
    assert all(fresh[one].user is not one.user for one in viewers)
    assert fresh[viewer()].user.is_anonymous


def test_whoever_was_deleted_or_deactivated_is_no_viewer_any_more(demo, viewer):
    here, deleted, inactive = map(viewer, (demo.amira, demo.ben, demo.cleo))
    User.objects.filter(pk=demo.ben.pk).delete()
    User.objects.filter(pk=demo.cleo.pk).update(is_active=False)

    assert list(refresh([here, deleted, inactive])) == [here]


def test_a_lazy_user_of_a_socket_is_refreshed_like_any_other(demo):
    socket = Viewer.of_scope(handshake(user=SimpleLazyObject(lambda: demo.cleo)))

    (fresh,) = refresh([socket]).values()

    assert fresh == socket
    assert type(fresh.user) is User


def test_a_permission_that_an_old_user_object_remembers_decides_nothing(demo, viewer):
    demo.dev.user_permissions.add(Permission.objects.get(codename="view_card"))
    old, may_see = viewer(demo.dev), has_model_perm("view_card")
    assert may_see.allows(old, demo.card)

    User.objects.get(pk=demo.dev.pk).user_permissions.clear()

    assert may_see.allows(old, demo.card)  # what the old object remembers
    assert not may_see.allows(refresh([old])[old], demo.card)


def test_each_refresh_gives_new_users(demo, viewer):
    one = viewer(demo.dev)
    first = refresh([one])[one]
    assert not has_perm("view_card").allows(first, demo.card)
    assign_perm("view_card", User.objects.get(pk=demo.dev.pk), demo.card)

    second = refresh([first])[first]

    assert has_perm("view_card").allows(second, demo.card)
    assert second == replace(first, user=second.user)


# Who the user is


@pytest.fixture
def account():
    """An instance of any model that somebody may have logged in as."""

    def make(model, **values):
        instance = model(**values)
        instance.is_authenticated = instance.is_active = True
        return instance

    return make


def test_who_a_viewer_is_stays_what_it_was_when_they_came(viewer):
    user = User.objects.create(username="someone")
    one = viewer(user)
    key = user.pk

    user.delete()

    assert user.pk is None
    assert (one.identity, one.user_key) == ((User, key), key)
    assert one == viewer(User(pk=key))
    assert one in {viewer(User(pk=key))}


def test_an_account_of_another_model_is_another_viewer_than_the_user_with_its_key(viewer, account):
    user, page = User.objects.create(username="someone"), account(Page, pk=1)
    namesake = viewer(account(Page, pk=user.pk))

    assert viewer(user) != namesake
    assert len({viewer(user), namesake, viewer()}) == 3
    assert (namesake.identity, namesake.user_key) == ((Page, user.pk), None)
    assert (viewer().identity, viewer().user_key) == (None, None)
    assert refresh([namesake, viewer(page)]) == {}
    assert list(refresh([namesake, viewer(user)])) == [viewer(user)]


def test_an_account_that_is_no_model_at_all_is_nobody_to_show_anything_to(viewer):
    class Token:
        is_authenticated = is_active = True

    Token.pk = User.objects.create(username="someone").pk

    assert viewer(Token()).user_key is None
    assert refresh([viewer(Token())]) == {}


def test_a_key_in_another_form_is_the_same_user(viewer):
    user = User.objects.create(username="someone")

    assert viewer(User(pk=str(user.pk))).user_key == user.pk
    assert refresh([viewer(User(pk=str(user.pk)))])[viewer(User(pk=str(user.pk)))].user == user


def test_a_key_that_can_not_be_one_is_nobodys(viewer):
    someone = User.objects.create(username="someone")

    assert viewer(User(pk="no number")).user_key is None
    assert list(refresh([viewer(User(pk="no number")), viewer(someone)])) == [viewer(someone)]


def test_users_whose_keys_are_uuids_are_found(viewer, account, monkeypatch):
    monkeypatch.setattr(viewers_module, "get_user_model", lambda: Document)
    monkeypatch.setattr(Document, "is_authenticated", True, raising=False)
    monkeypatch.setattr(Document, "is_active", True, raising=False)
    document, gone = Document.objects.create(text="here"), Document()

    as_text = viewer(Document(pk=str(document.pk)))
    fresh = refresh([viewer(document), as_text, viewer(gone)])

    assert (viewer(document).user_key, as_text.user_key) == (document.pk, document.pk)
    assert [one.user.text for one in fresh.values()] == ["here", "here"]


def test_a_user_that_the_default_manager_leaves_out_is_not_there(viewer, monkeypatch):
    user, archived = (User.objects.create(username=name) for name in ("someone", "archived"))

    class Present(models.Manager):
        def get_queryset(self):
            return super().get_queryset().exclude(username="archived")

    manager = Present()
    manager.model = User
    monkeypatch.setattr(User._meta, "default_manager", manager)

    assert list(refresh([viewer(user), viewer(archived)])) == [viewer(user)]


def test_what_surrounds_a_viewer_is_all_but_the_user(viewer):
    facts = {"language": "de", "time_zone": "Asia/Tokyo", "scheme": "https", "host": "push.example"}

    assert viewer(User(pk=7), **facts).surroundings == viewer(**facts).surroundings == tuple(facts.values())


def test_a_bare_request_says_nothing_of_the_user_and_may_be_of_any_kind(viewer):
    class Own(ASGIRequest):
        pass

    bare = viewer(User(pk=7), scheme="https", host="push.example").bare_request(Own)

    assert type(bare) is Own
    assert not hasattr(bare, "user")
    assert bare.build_absolute_uri() == "https://push.example/"
    assert viewer(host="").bare_request().headers == {}


@pytest.mark.parametrize("number", [0, 1, 40])
def test_any_number_of_viewers_is_refreshed_in_one_query(viewer, number, django_assert_num_queries):
    users = User.objects.bulk_create(User(username=f"user {position}") for position in range(number))
    viewers = [viewer(user) for user in users]

    with django_assert_num_queries(1):
        assert list(refresh(iter(viewers))) == viewers
