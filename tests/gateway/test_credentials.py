"""Credentials: the right to be connected ends with the user, the session, the password, the token."""

from __future__ import annotations

import datetime

import clients
import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from clients import until
from django.conf import settings as django_settings
from django.contrib.auth import SESSION_KEY, get_user_model, update_session_auth_hash
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.http import HttpRequest
from django.test import Client as Browser
from django.utils import timezone

from livegate.gateway import examiner
from livegate.gateway import hub as hub_module
from livegate.gateway.credentials import Credentials, ended
from livegate.gateway.metrics import counts
from livegate.gateway.notices import Notice, token_of_user
from livegate.gateway.routing import websocket_urlpatterns
from livegate.permissions import Viewer

User = get_user_model()
NOW = datetime.datetime.now(datetime.UTC)
HOUR = datetime.timedelta(hours=1)


def session_of(user):
    """A session in which the user has logged in, as a later request finds it."""
    browser = Browser()
    browser.force_login(user)
    return type(browser.session)(browser.session.session_key)


def given(user, session=None, **scope):
    """What a socket of theirs is opened with; the session was looked into, as AuthMiddleware does."""
    if session is not None:
        session.get(SESSION_KEY)
    scope = {"headers": [], "user": user, **({"session": session} if session is not None else {}), **scope}
    return Credentials.of_scope(scope, Viewer.of_scope(scope))


@pytest.fixture
def user(db):
    return User.objects.create_user("somebody", password="a password")


@pytest.fixture(
    params=[
        "django.contrib.sessions.backends.db",
        "django.contrib.sessions.backends.cached_db",
        "django.contrib.sessions.backends.cache",
        "django.contrib.sessions.backends.file",
        "django.contrib.sessions.backends.signed_cookies",
    ],
    ids=lambda path: path.rpartition(".")[2],
)
def engine(request, settings, tmp_path):
    settings.SESSION_ENGINE = request.param
    settings.SESSION_FILE_PATH = str(tmp_path)
    return request.param.rpartition(".")[2]


def test_as_long_as_nothing_changed_nobody_has_to_go(user, engine):
    everybody = [given(user, session_of(user)), given(user), given(AnonymousUser()), given(AnonymousUser(), {})]

    assert ended(everybody) == set()
    assert ended([]) == set()


def test_a_session_that_is_over_ends(user, engine):
    gone, kept = given(user, session_of(user)), given(user, session_of(user))
    type(gone.session)(gone.session_key).flush()

    # A signed cookie is the session itself, and nobody can take it away.
    assert ended([gone, kept]) == (set() if engine == "signed_cookies" else {gone})


def test_a_session_that_has_expired_ends(user, settings):
    one = given(user, session_of(user))
    Session.objects.update(expire_date=timezone.now() - HOUR)

    assert ended([one]) == {one}


def test_a_session_ends_when_another_user_logs_in_with_it(user, engine):
    one = given(user, session_of(user))
    session = type(one.session)(one.session_key)
    session[SESSION_KEY] = str(User.objects.create(username="other").pk)
    session.save()

    assert ended([one]) == (set() if engine == "signed_cookies" else {one})


def test_a_new_password_ends_all_sessions_but_that_in_which_it_was_set(user, engine):
    here, elsewhere = given(user, session_of(user)), given(user, session_of(user))
    user.set_password("another")
    user.save()
    assert ended([here, elsewhere]) == {here, elsewhere}

    request = HttpRequest()
    request.user, request.session = user, type(here.session)(here.session_key)
    update_session_auth_hash(request, user)
    request.session.save()

    assert ended([given(user, type(here.session)(request.session.session_key)), elsewhere]) == {elsewhere}


def test_a_session_that_was_signed_with_a_former_secret_key_goes_on(user, settings):
    one = given(user, session_of(user))
    settings.SECRET_KEY_FALLBACKS = [django_settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert ended([one]) == set()
    settings.SECRET_KEY_FALLBACKS = []
    assert ended([one]) == {one}


def test_a_session_of_a_backend_that_is_no_longer_used_ends(user, settings):
    one = given(user, session_of(user))
    settings.AUTHENTICATION_BACKENDS = ["guardian.backends.ObjectPermissionBackend"]

    assert ended([one]) == {one}


def test_a_user_model_without_a_session_hash_is_known_by_its_key(user, monkeypatch):
    one = given(user, session_of(user))
    monkeypatch.delattr("django.contrib.auth.base_user.AbstractBaseUser.get_session_auth_hash")

    assert ended([one]) == set()


@pytest.mark.parametrize("by_session", [True, False])
def test_who_is_deactivated_or_deleted_has_to_go_however_they_came(user, by_session):
    one = given(user, session_of(user) if by_session else None)
    other = given(User.objects.create(username="other"))
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert ended([one, other]) == {one}
    User.objects.filter(pk=user.pk).delete()

    assert ended([one, other]) == {one}


def test_a_session_beside_which_something_else_told_who_it_is_decides_nothing(user):
    other = User.objects.create(username="other")
    one, nobody = given(other, session_of(user)), given(AnonymousUser(), session_of(user))
    Session.objects.all().delete()

    assert ended([one, nobody]) == set()


def test_an_account_of_another_model_is_none_of_the_users(user):
    session = session_of(user)
    session[SESSION_KEY] = "no number"
    one = given(user, session)
    Session.objects.all().delete()

    assert ended([one]) == set()


def test_what_expires_ends_at_that_moment(user):
    past, future = given(user, expires=NOW - HOUR), given(user, expires=NOW + HOUR)

    assert ended([past, future]) == {past}
    assert future.seconds_left == pytest.approx(3600, abs=600)
    assert given(user).seconds_left is None


def test_whoever_put_the_user_there_may_tell_whether_it_holds(user):
    holds, ends = given(user, is_valid=lambda: True), given(user, is_valid=lambda: User.objects.count() == 0)
    says_nothing = given(user, is_valid=lambda: None)

    assert ended([holds, ends, says_nothing]) == {ends, says_nothing}


@pytest.mark.parametrize("error", [RuntimeError, OperationalError])
def test_one_of_whom_it_can_not_be_told_keeps_nobody_else_from_being_examined(user, caplog, error):
    def fail():
        raise error("the secret")

    unknown = [given(user, is_valid=fail) for _ in range(2)]
    ends, holds = given(user, is_valid=lambda: False), given(user)

    assert ended([holds, unknown[0], ends, unknown[1]]) == {ends}
    assert [record.event for record in caplog.records] == ["sockets_unexamined"]
    assert "secret" not in caplog.text


def test_a_session_that_can_not_be_read_keeps_nobody_else_from_being_examined(user, settings, monkeypatch, caplog):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    one, gone = given(user, session_of(user)), given(User(pk=77_777))

    def fail(store):
        raise OSError("the secret")

    monkeypatch.setattr(type(one.session), "load", fail)

    assert ended([one, gone]) == {gone}
    assert [record.event for record in caplog.records] == ["sockets_unexamined"]
    assert "secret" not in caplog.text


def test_when_the_database_is_away_it_is_told_of_nobody(user, monkeypatch):
    def fail(*args):
        raise OperationalError

    one = given(user)
    monkeypatch.setattr(type(User._default_manager), "filter", fail)
    with pytest.raises(OperationalError):
        ended([one])


class Strict(ModelBackend):
    """Lets in whom it wants to."""

    def user_can_authenticate(self, user):
        return super().user_can_authenticate(user) and user.last_name != "banned"


class Own(ModelBackend):
    def get_user(self, user_id):
        return User.objects.filter(pk=user_id).exclude(last_name="banned").first()


@pytest.mark.parametrize("backend", [Strict, Own])
def test_whom_the_backend_no_longer_lets_in_has_to_go(user, settings, backend):
    path = f"{__name__}.{backend.__name__}"
    settings.AUTHENTICATION_BACKENDS = [path]
    one = given(user, session_of(user))
    assert ended([one]) == set()
    User.objects.update(last_name="banned")

    assert ended([one]) == {one}


def test_a_session_that_nobody_read_when_the_socket_was_opened_ends_too(user):
    session = session_of(user)
    one = Credentials.of_scope({"session": session}, Viewer.of_scope({"user": user}))
    type(session)(session.session_key).flush()

    assert ended([one]) == {one}


async def answer():
    return True


@pytest.mark.parametrize(
    "scope", [{"expires": 3600}, {"expires": datetime.datetime(2030, 1, 1)}, {"is_valid": True}, {"is_valid": answer}]
)
def test_what_is_no_moment_and_no_function_raises(user, scope):
    with pytest.raises(TypeError, match=f'scope."{next(iter(scope))}"'):
        given(user, **scope)


def test_many_are_examined_in_two_queries(user, django_assert_num_queries):
    users = User.objects.bulk_create(User(username=f"u{number}") for number in range(20))
    several = [
        given(one, session_of(one)) for one in [user, *User.objects.filter(username__in=[u.username for u in users])]
    ]

    with django_assert_num_queries(2):
        assert ended(several) == set()
    with django_assert_num_queries(0):
        assert ended([given(AnonymousUser())]) == set()


def test_tokens_stand_for_the_user_and_the_session_and_name_neither(user):
    one = given(user, session_of(user))

    assert one.user_token == token_of_user(user.pk)
    assert one.session_token
    assert one.session_key not in one.session_token
    assert given(user).session_token == given(AnonymousUser()).user_token == ""


# At the socket


@pytest.fixture
def with_sessions(monkeypatch):
    """Who connects is who their session's cookie says."""
    monkeypatch.setattr(clients, "application", AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))


async def logged_in(user):
    browser = Browser()
    await sync_to_async(browser.force_login)(user)
    cookie = f"{django_settings.SESSION_COOKIE_NAME}={browser.session.session_key}"
    return browser, {"headers": [(b"host", b"testserver"), (b"cookie", cookie.encode())]}


async def closed(client):
    """The close code that comes next."""
    message = await client.take()
    assert message["type"] == "websocket.close", message
    return message["code"]


async def test_a_log_out_closes_the_sockets_of_that_session_and_no_others(demo, connect, with_sessions):
    browser, scope = await logged_in(demo.cleo)
    _, elsewhere = await logged_in(demo.cleo)
    first, second, other = await connect(**scope), await connect(**scope), await connect(**elsewhere)
    for one in (first, second, other):
        assert (await one.subscribe(demo.card))["type"] == "SUBSCRIBED"

    await sync_to_async(browser.logout)()

    assert [await closed(one) for one in (first, second)] == [4401, 4401]
    await sync_to_async(demo.card.save)()
    assert (await other.subscribe(demo.card))["type"] == "SUBSCRIBED"


async def test_a_session_of_which_a_log_out_was_told_opens_no_other_socket_although_it_is_not_removed_yet(
    demo, connect, with_sessions
):
    _, scope = await logged_in(demo.cleo)
    first = await connect(**scope)
    hub = hub_module._hubs[next(iter(hub_module._hubs))]
    hub._log_out(next(iter(hub.sockets)).session_token)
    assert await closed(first) == 4401

    assert await closed(await connect(**scope)) == 4401


async def test_what_stands_for_a_user_or_for_nobody_logs_nobody_out(demo, connect, with_sessions):
    """Whoever hears notices hears what stands for users, and could send it again as another kind."""
    _, scope = await logged_in(demo.cleo)
    first, nobody = await connect(**scope), await connect()
    hub = hub_module._hubs[next(iter(hub_module._hubs))]

    for token in (next(socket.user_token for socket in hub.sockets if socket.user_token), ""):
        hub._hear(Notice("logout", token=token))

    for client in (first, nobody, await connect(**scope), await connect()):
        assert (await client.ask({"action": "ping"}))["type"] == "PONG"


@pytest.mark.parametrize("change", ["deactivate", "delete", "password"])
async def test_a_change_of_the_user_closes_their_sockets(demo, connect, with_sessions, change):
    _, scope = await logged_in(demo.cleo)
    _, others = await logged_in(demo.ben)
    client, other = await connect(**scope), await connect(**others)
    expelled = counts()["sockets_expelled"]
    if change == "delete":
        await sync_to_async(demo.cleo.delete)()
    else:
        demo.cleo.is_active = change != "deactivate"
        demo.cleo.set_password("another")
        await sync_to_async(demo.cleo.save)()

    assert await closed(client) == 4401
    assert (await other.ask({"action": "ping"}))["type"] == "PONG"
    assert counts()["sockets_expelled"] == expelled + 1


async def test_a_session_in_the_scope_that_nobody_has_read_is_read_when_the_socket_is_opened(demo, connect):
    browser, _ = await logged_in(demo.cleo)
    client = await connect(demo.cleo, session=type(browser.session)(browser.session.session_key))
    await sync_to_async(browser.logout)()

    assert await closed(client) == 4401


async def test_a_log_out_closes_nobody_whom_something_else_has_let_in(demo, connect):
    browser, _ = await logged_in(demo.cleo)
    client = await connect(demo.ben, session=type(browser.session)(browser.session.session_key))
    await sync_to_async(browser.logout)()

    await client.nothing()


async def test_what_expires_closes_the_socket_at_that_moment(demo, connect):
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.05)
    client = await connect(demo.cleo, expires=moment)
    late = await connect(demo.cleo, expires=NOW - HOUR)

    assert await closed(client) == await closed(late) == 4401
    assert datetime.datetime.now(datetime.UTC) >= moment


async def test_what_expires_is_waited_for_again_where_the_clock_was_set_back(demo, connect, monkeypatch):
    left = iter([0.001, 0.001])
    monkeypatch.setattr(Credentials, "seconds_left", property(lambda self: next(left, -1)))

    assert await closed(await connect(demo.cleo)) == 4401
    assert list(left) == []


@pytest.mark.parametrize("lost", [lambda: False, None], ids=["token", "user"])
async def test_who_lost_the_right_while_the_socket_was_opened_is_closed(demo, connect, lost):
    await (await connect(demo.amira)).nothing()
    if lost is None:
        await sync_to_async(User.objects.filter(pk=demo.cleo.pk).update)(is_active=False)

    assert await closed(await connect(demo.cleo, is_valid=lost)) == 4401


async def test_a_client_that_is_sent_away_can_ask_for_nothing_more(demo, connect):
    client = await connect(demo.cleo)
    demo.cleo.is_active = False
    await sync_to_async(demo.cleo.save)()
    assert await closed(client) == 4401
    [loop] = hub_module._hubs
    hub = hub_module._hubs[loop]
    await client.send({"model": "board.Card", "id": demo.card.hashid, "request_id": 1})
    await client.send({"action": "ping", "request_id": 2})
    await until(lambda: client._in.empty())

    assert client._out.empty()
    assert hub._registry.watching == {}
    assert hub._registry.by_token == {}


async def test_a_client_that_reads_nothing_is_sent_away_all_the_same(demo, connect):
    client = await connect(demo.cleo)
    await client.subscribe(demo.card)
    client.reading.clear()
    demo.card.title = "new"
    await sync_to_async(demo.card.save)()
    [hub] = hub_module._hubs.values()
    [socket] = hub.sockets
    await until(lambda: socket.delivery is not None)

    demo.cleo.is_active = False
    await sync_to_async(demo.cleo.save)()
    await until(lambda: not hub.sockets)
    client.reading.set()
    assert await closed(client) == 4401


async def test_who_can_not_be_examined_yet_stays_and_is_examined_again(demo, connect, monkeypatch, caplog):
    monkeypatch.setattr(examiner, "LONGEST_PAUSE", 0.001)
    client = await connect(demo.cleo)
    [hub] = hub_module._hubs.values()
    await until(lambda: hub.hears and not hub._examiner.doubted)  # when it hears, everybody is in doubt once more
    await hub._examiner._worker.do(str, None)  # and who was, has been examined
    errors = [OperationalError("the secret")]

    def sometimes(credentials):
        if errors:
            raise errors.pop()
        return ended(credentials)

    monkeypatch.setattr(examiner, "ended", sometimes)
    demo.cleo.is_active = False
    await sync_to_async(demo.cleo.save)()

    assert await closed(client) == 4401
    assert [record.event for record in caplog.records] == ["sockets_unexamined"]
    assert "secret" not in caplog.text
