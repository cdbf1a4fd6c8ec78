"""Each system check finds what it is for, with its id and a remedy, and nothing in what is sound."""

from __future__ import annotations

from functools import partial

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from config import asgi
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.urls import path
from lab.models import ForeignProxy, Page, Tracked, Unpublished
from lab.replicas import REPLICA, ReplicaRouter
from model_utils import FieldTracker
from rest_framework import serializers

from livegate.gateway import publications
from livegate.gateway.checks import check_origins, check_publications, check_settings
from livegate.gateway.consumers import NotificationConsumer
from livegate.gateway.publications import publish
from livegate.gateway.routing import websocket_urlpatterns
from livegate.permissions import anyone, same_tenant
from livegate.serializers import HashidField, PerUserSerializerMixin

User = get_user_model()


@pytest.fixture(autouse=True)
def only_what_the_test_publishes(monkeypatch):
    monkeypatch.setattr(publications, "_publications", {})


class Plain(serializers.ModelSerializer):
    id = HashidField()

    class Meta:
        model = Unpublished
        fields = ["id", "name"]


class Guarded(PerUserSerializerMixin, Plain):
    class Meta(Plain.Meta):
        guards = {"name": anyone}


def ids(messages):
    assert all(message.hint for message in messages)
    return [message.id for message in messages]


def test_a_sound_publication_has_no_problems():
    publish(Unpublished, Guarded)
    publish(Tracked, lambda viewer, instance: Plain)
    publish(ForeignProxy, Plain, watch=["name"])

    assert check_publications() == []


def test_the_settings_of_the_tests_have_no_problems_but_the_in_memory_layer(settings):
    assert ids(check_settings()) == ["livegate.W001"]

    settings.DEBUG = True
    assert check_settings() == []


def test_no_channel_layer(settings):
    settings.CHANNEL_LAYERS = {}

    assert ids(check_settings()) == ["livegate.E001"]


class CoreLayer(RedisChannelLayer):
    """One of an application's own."""


class PubSubLayer(RedisPubSubChannelLayer):
    """The same."""

    brpop_timeout = 5  # which means nothing here


CORE = ["channels_redis.core.RedisChannelLayer", f"{__name__}.CoreLayer"]
PUBSUB = ["channels_redis.pubsub.RedisPubSubChannelLayer", f"{__name__}.PubSubLayer"]
URL = "redis://broker.example:6379/0"
SENTINEL = {"master_name": "livegate", "sentinels": [("broker.example", 26379)]}


@pytest.mark.parametrize(
    ("backends", "config", "found"),
    [
        (PUBSUB, {"hosts": [{"address": URL, "socket_timeout": 5}]}, []),
        (PUBSUB, {"hosts": [URL, ("broker.example", 6379)]}, []),
        (PUBSUB, None, []),
        (PUBSUB, {"hosts": [{**SENTINEL, "socket_timeout": 5}]}, []),
        (PUBSUB, {"hosts": [{"address": URL, "socket_timeout": None}]}, ["livegate.W009"]),
        (PUBSUB, {"hosts": [{"address": URL, "socket_timeout": None}] * 2}, ["livegate.W009"]),
        (PUBSUB, {"hosts": [URL, {**SENTINEL, "socket_timeout": None}]}, ["livegate.W009"]),
        (CORE, {"hosts": [{"address": URL, "socket_timeout": 10}]}, ["livegate.W007"]),
        (CORE, {"hosts": [f"{URL}?socket_timeout=10"]}, ["livegate.W007"]),
        (CORE, {"hosts": [{"address": URL, "socket_timeout": 5}]}, ["livegate.W007", "livegate.W009"]),
        (CORE, {"hosts": [{"address": URL, "socket_timeout": None}]}, ["livegate.W007", "livegate.W009"]),
        # What Channels refuses by itself is not spoken of here.
        (PUBSUB, {"hosts": URL}, []),
        (["no.such.Layer", ""], {"hosts": [URL]}, []),
        (["channels.layers.get_channel_layer"], {}, []),
        (["channels.layers.BaseChannelLayer"], {"hosts": 1}, []),
    ],
)
def test_the_layers_of_redis(settings, backends, config, found):
    settings.DEBUG = True
    for backend in backends:
        configured = {"BACKEND": backend, **({} if config is None else {"CONFIG": config})}
        settings.CHANNEL_LAYERS = {"default": configured}

        assert ids(check_settings()) == found


def test_a_layer_without_a_backend_is_none_of_our_business(settings):
    settings.DEBUG, settings.CHANNEL_LAYERS = True, {"default": {}}

    assert check_settings() == []


def test_no_backend_for_object_permissions(settings):
    settings.DEBUG, settings.AUTHENTICATION_BACKENDS = True, ["django.contrib.auth.backends.ModelBackend"]

    assert ids(check_settings()) == ["livegate.W002"]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"HASHID_SALT": ""}, "livegate.E002"),
        ({"HASHID_SALT": "the secret"}, "livegate.E003"),
        ({"HASHID_SALT": "s", "HASH_SALT": "s"}, "livegate.E004"),
        ({"HASHID_SALT": "s", "BATCH_SIZE": 0}, "livegate.E010"),
        ({"HASHID_SALT": "s", "NOTICE_GROUPS": "2"}, "livegate.E010"),
        ({"HASHID_SALT": "s", "NOTICE_GROUPS": 1.5}, "livegate.E010"),
        ({"HASHID_SALT": "s", "MAX_FRAME_BYTES": True}, "livegate.E010"),
        ({"HASHID_SALT": "s", "SEND_TIMEOUT": None}, "livegate.E010"),
        ({"HASHID_SALT": "s", "HASHID_MIN_LENGTH": 65}, "livegate.E010"),
        ({"HASHID_SALT": "s", "CANARY_SHARE": 1.1}, "livegate.E010"),
        ({"HASHID_SALT": "s", "CANARY_SHARE": -0.1}, "livegate.E010"),
        ({"HASHID_SALT": "s", "CANARY_SHARE": "0.1"}, "livegate.E010"),
        ({"HASHID_SALT": "s", "CANARY_SHARE": None}, "livegate.E010"),
        ({"HASHID_SALT": "s", "READ_PRIMARY": 1}, "livegate.E010"),
        ({"HASHID_SALT": "s", "LEDGER": "everything"}, "livegate.E010"),
        ({"HASHID_SALT": "s", "READ_PRIMARY": "False"}, "livegate.E010"),
    ],
)
def test_the_livegate_dict(settings, changed, found):
    settings.DEBUG, settings.SECRET_KEY, settings.LIVEGATE = True, "the secret", changed

    assert ids(check_settings()) == [found]


@pytest.mark.parametrize("path", ["lab.sinks.NoSink", "nowhere.Sink", ""])
def test_a_sink_that_is_not_there_is_found_if_anything_is_put_on_record(settings, path):
    settings.DEBUG, settings.LIVEGATE = True, {"HASHID_SALT": "s", "LEDGER_SINK": path}
    assert ids(check_settings()) == []

    settings.LIVEGATE = {**settings.LIVEGATE, "LEDGER": "subscriptions"}
    assert ids(check_settings()) == ["livegate.E011"]


@pytest.mark.parametrize("share", [0, 1, 0.0, 1.0, 0.0001])
def test_the_share_of_the_canary_may_be_nothing_everything_and_all_between(settings, share):
    settings.DEBUG, settings.LIVEGATE = True, {"HASHID_SALT": "s", "CANARY_SHARE": share}

    assert check_settings() == []


def test_no_livegate_dict_at_all(settings):
    settings.DEBUG = True
    del settings.LIVEGATE

    assert ids(check_settings()) == ["livegate.E002"]


def test_a_tracker_of_what_is_no_column(monkeypatch):
    tracker = FieldTracker(fields=["text", "hashid", "owner"])
    tracker.fields = {"text", "hashid", "owner"}
    monkeypatch.setattr(Page, "tracker", tracker, raising=False)
    publish(Page, Plain)

    [problem] = check_publications()
    assert (problem.id, "hashid" in problem.msg, "owner" in problem.msg) == ("livegate.E005", True, False)


def test_a_model_published_twice():
    publish(Unpublished, Plain, to=anyone)
    publish(Unpublished, Plain)

    [problem] = check_publications()
    assert (problem.id, problem.obj) == ("livegate.E006", "lab.Unpublished")


def test_watched_fields_of_a_model_that_gives_its_own_notice():
    publish(Unpublished, Plain, watch=["name"])

    assert ids(check_publications()) == ["livegate.E007"]


def test_guards_that_nothing_asks_also_in_what_is_nested():
    class Unasked(serializers.Serializer):
        name = serializers.CharField()

        class Meta:
            guards = {"name": anyone}

    class Unasked2(Unasked):
        pass

    class Outer(serializers.Serializer):
        one = Unasked()
        many = Unasked2(many=True)
        again = Unasked()

    publish(Unpublished, Outer)

    assert ids(check_publications()) == ["livegate.E008", "livegate.E008"]


def test_a_guard_that_names_no_field():
    class Misspelt(Guarded):
        class Meta(Plain.Meta):
            guards = {"nmae": anyone}

    publish(Unpublished, Misspelt)

    assert ids(check_publications()) == ["livegate.E009"]


def test_a_serializer_that_needs_a_request_to_know_its_fields_is_told_and_stops_nothing():
    class Asks(Plain):
        def get_fields(self):
            return super().get_fields() if self.context["request"].user else {}

    publish(Unpublished, Asks)

    assert ids(check_publications()) == ["livegate.W003"]


def test_a_serializer_within_itself_is_looked_at_once():
    class Node(Plain):
        def get_fields(self):
            return {**super().get_fields(), "children": Node(many=True, read_only=True)}

    publish(Unpublished, Node)

    assert check_publications() == []


def test_they_run_with_djangos_own_and_stop_a_command(settings):
    settings.LIVEGATE = {}

    with pytest.raises(SystemCheckError, match=r"livegate\.E002"):
        call_command("check")


@pytest.mark.parametrize(
    ("model", "path", "watch", "found"),
    [
        (Tracked, "title", None, []),
        (Tracked, "unwatched", None, ["livegate.W006"]),
        (ForeignProxy, "name", ["name"], []),
        (ForeignProxy, "name", [], ["livegate.W006"]),
        (ForeignProxy, "name", None, []),
        (Page, "text", None, []),
        (Page, "editors__username", None, []),
    ],
)
def test_a_permission_that_looks_at_a_column_of_which_a_change_does_not_count(model, path, watch, found):
    publish(model, lambda viewer, instance: Plain, watch=watch, to=same_tenant(path, "username"))

    assert ids(check_publications()) == found


# Replicas


@pytest.mark.parametrize("routers", [[], [ReplicaRouter()]])
def test_a_router_that_has_a_replica_read_is_no_problem_and_a_queryset_that_names_one_is(settings, routers):
    settings.DATABASE_ROUTERS = routers
    publish(Unpublished, Plain, queryset=Unpublished.objects.order_by("pk"))
    assert check_publications() == []

    publish(Page, Plain, queryset=Page.objects.using("default"))
    publish(Tracked, Plain, queryset=Tracked.objects.using(REPLICA))

    [problem] = check_publications()
    assert (problem.id, problem.obj) == ("livegate.W008", Tracked)
    assert problem.msg == "lab.Tracked is read from the database replica, and written to default."
    settings.LIVEGATE = {**settings.LIVEGATE, "READ_PRIMARY": False}
    assert check_publications() == []


def test_users_whose_manager_names_a_replica(monkeypatch):
    monkeypatch.setattr(User._default_manager, "_db", REPLICA)

    [problem] = check_publications()
    assert (problem.id, problem.obj) == ("livegate.W008", User)


# Cross-site WebSocket hijacking


@pytest.fixture
def served(settings, monkeypatch):
    """Serve an application."""

    def serve(websocket):
        monkeypatch.setattr(asgi, "application", ProtocolTypeRouter({"http": asgi.django_application, **websocket}))
        settings.ASGI_APPLICATION = "config.asgi.application"

    return serve


ROUTES = URLRouter(websocket_urlpatterns)


class Wrapper:
    """An application of another make, around one."""

    def __init__(self, wrapped):
        self.wrapped = wrapped

    async def __call__(self, scope, receive, send):
        """Passes it on."""


class Itself:
    app = property(lambda self: self)

    def __call__(self):
        """Is an application."""


def with_lifespan(wrapped):
    gone = None

    async def application(scope, receive, send):
        return wrapped, gone  # noqa: F821

    del gone
    return application


def test_the_set_up_of_the_example_and_of_the_readme_is_sound(settings):
    assert settings.ASGI_APPLICATION == "config.asgi.application"
    assert check_origins() == []


@pytest.mark.parametrize(
    "websocket",
    [
        ROUTES,
        AuthMiddlewareStack(ROUTES),
        AuthMiddlewareStack(BaseMiddleware(ROUTES)),
        OriginValidator(ROUTES, ["*"]),
        Wrapper(ROUTES),
        with_lifespan(Wrapper(AuthMiddlewareStack(ROUTES))),
        partial(Wrapper(ROUTES)),
        URLRouter([path("checked/", OriginValidator(ROUTES, ["a.org"])), path("open/", ROUTES)]),
        URLRouter([path("", NotificationConsumer.as_asgi())]),
        URLRouter([path("", type("Own", (NotificationConsumer,), {}).as_asgi())]),
    ],
)
def test_a_way_to_the_consumer_without_a_look_at_the_origin(served, websocket):
    served({"websocket": websocket})

    assert ids(check_origins()) == ["livegate.W005"]


@pytest.mark.parametrize(
    "websocket",
    [
        {"websocket": OriginValidator(AuthMiddlewareStack(ROUTES), ["a.org"])},
        {"websocket": AuthMiddlewareStack(OriginValidator(ROUTES, ["a.org"]))},
        {"websocket": OriginValidator(OriginValidator(ROUTES, ["a.org"]), ["*"])},
        {"websocket": URLRouter([path("", OriginValidator(ROUTES, ["a.org"]))])},
        {"websocket": Wrapper(OriginValidator(with_lifespan(ROUTES), ["a.org"]))},
        {"websocket": Itself()},
        {"websocket": URLRouter([path("other/", AsyncWebsocketConsumer.as_asgi())])},
        {},
    ],
)
def test_each_way_to_the_consumer_is_checked_or_there_is_none(served, websocket):
    served(websocket)

    assert check_origins() == []


def test_an_application_that_can_not_be_looked_into(settings):
    settings.ASGI_APPLICATION = "config.asgi.nothing"
    assert ids(check_origins()) == ["livegate.W004"]
    settings.ASGI_APPLICATION = None
    assert check_origins() == []
