"""System checks: what would fail, or show nothing, once people are connected."""

from __future__ import annotations

from types import CellType
from typing import TYPE_CHECKING, Any

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer
from channels_redis.utils import create_pool, decode_hosts
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import router
from django.utils.module_loading import import_string
from guardian.backends import ObjectPermissionBackend
from rest_framework import serializers
from rest_framework.serializers import BaseSerializer

from ..serializers.guards import PerUserSerializerMixin, guards_of, unknown_guards
from ..serializers.hashids import MAX_LENGTH
from ..serializers.settings import DEFAULTS, setting
from .changes import tracker_names
from .consumers import NotificationConsumer
from .models import PushModelMixin
from .primary import from_primary
from .publications import LEVELS, all_publications, find, is_serializer
from .recorder import is_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .publications import Publication

# The numbers of which 0 means: never.
MAY_BE_ZERO = {"CANARY_SHARE", "NOTICE_INTERVAL"}
# So many applications may stand around one another.
DEEPEST = 30
IN_MEMORY = "channels.layers.InMemoryChannelLayer"
PUBSUB = "channels_redis.pubsub.RedisPubSubChannelLayer"


@register(Tags.compatibility)
def check_settings(**_: Any) -> list[CheckMessage]:
    """The channel layer, the authentication backends and the ``LIVEGATE`` dict."""
    problems = (*channel_layer_problems(), *backend_problems(), *salt_problems(), *unknown_settings())
    return [*problems, *bad_numbers(), *bad_switches(), *ledger_problems()]


@register(Tags.models)
def check_publications(**_: Any) -> list[CheckMessage]:
    """Every publication, its model and its serializer."""
    publications = list(all_publications())
    twice = {publication.label for publication in publications if find(publication.label) is None}
    problems: list[CheckMessage] = [
        Error(
            f"{label} is published more than once.",
            hint="Which permission holds would not be known, so it is not pushed at all. Keep one publish().",
            obj=label,
            id="livegate.E006",
        )
        for label in sorted(twice)
    ]
    for publication in publications:
        problems += [
            *tracker_problems(publication),
            *watch_problems(publication),
            *unwatched_problems(publication),
            *guard_problems(publication),
        ]
    users: Any = get_user_model()
    querysets = [*(publication.queryset for publication in publications), users._default_manager.all()]
    return [*problems, *replica_problems(querysets)]


def channel_layer_problems() -> Iterator[CheckMessage]:
    default = getattr(settings, "CHANNEL_LAYERS", {}).get("default")
    if default is None:
        yield Error(
            "There is no default channel layer, so no notice reaches anybody.",
            hint='Set CHANNEL_LAYERS = {"default": …}, with channels_redis.pubsub.RedisPubSubChannelLayer.',
            id="livegate.E001",
        )
    elif default.get("BACKEND") == IN_MEMORY and not settings.DEBUG:
        yield Warning(
            "The in-memory channel layer does not leave its process: saves elsewhere are not pushed.",
            hint=f"Outside of development, use {PUBSUB}.",
            id="livegate.W001",
        )
    else:
        yield from redis_problems(default)


def redis_problems(configured: dict[str, Any]) -> Iterator[CheckMessage]:
    """What channels_redis does without a word."""
    try:
        layer = import_string(configured["BACKEND"])
        is_core = issubclass(layer, RedisChannelLayer)
        is_redis = is_core or issubclass(layer, RedisPubSubChannelLayer)
        hosts = decode_hosts(configured.get("CONFIG", {}).get("hosts")) if is_redis else []
        timeouts = {create_pool(host).make_connection().socket_timeout for host in hosts}
    except Exception:
        return  # Channels says so itself, when it is used
    if is_core:
        yield Warning(
            "The core Redis layer drops notices without a word: beyond its capacity, 100 unless it is set, and for a "
            "process that has listened for longer than group_expiry, a day unless it is set.",
            hint=f"Use {PUBSUB}. Here each loss that is found has everything evaluated again.",
            id="livegate.W007",
        )
    for timeout in sorted(timeouts, key=str):
        if timeout is None:
            yield Warning(
                "The channel layer waits for ever for a Redis that takes its connection and does not answer.",
                hint=f'Set "socket_timeout": {10 if is_core else 5} for each of the hosts, instead of None.',
                id="livegate.W009",
            )
        elif is_core and timeout <= layer.brpop_timeout:
            yield Warning(
                f"The core Redis layer listens {layer.brpop_timeout} s at a time, and its connection is given up after "
                f"{timeout} s without a word (socket_timeout): whenever nothing happens.",
                hint='Set "socket_timeout": 10 for each of the hosts.',
                id="livegate.W009",
            )


def backend_problems() -> Iterator[CheckMessage]:
    if not any(issubclass(import_string(path), ObjectPermissionBackend) for path in settings.AUTHENTICATION_BACKENDS):
        yield Warning(
            "No authentication backend answers for object permissions: has_perm is False for all but superusers.",
            hint="Add guardian.backends.ObjectPermissionBackend to AUTHENTICATION_BACKENDS.",
            id="livegate.W002",
        )


@register(Tags.security)
def check_origins(**_: Any) -> list[CheckMessage]:
    """Whether a page of another site can open a socket with the cookies of whoever looks at it (cross-site WebSocket
    hijacking): browsers don't stop it, the server has to look at the Origin."""
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not path:
        return []
    try:
        application = import_string(path)
    except Exception as error:
        return [
            Warning(
                f"ASGI_APPLICATION can't be looked into: {type(error).__name__}.",
                hint="Whether it checks the Origin of WebSockets is not known.",
                id="livegate.W004",
            )
        ]
    ways = list(origins_before_consumers(application))
    if all(any("*" not in allowed for allowed in origins) for origins in ways):
        return []
    return [
        Warning(
            "Any page of any site can open a WebSocket here, as whoever looks at that page.",
            hint="Put channels.security.websocket.AllowedHostsOriginValidator around the WebSocket side in "
            f"{path}, and no '*' into ALLOWED_HOSTS.",
            id="livegate.W005",
        )
    ]


def origins_before_consumers(
    application: Any, before: tuple[list[str], ...] = (), above: frozenset[int] = frozenset()
) -> Iterator[tuple[list[str], ...]]:
    """For each way to a consumer of livegate's, the origins that are allowed on it, by each of the validators that
    stand there."""
    if id(application) in above or len(above) > DEEPEST:
        return
    consumer = getattr(application, "consumer_class", None)
    if isinstance(consumer, type) and issubclass(consumer, NotificationConsumer):
        yield before
        return
    if isinstance(application, OriginValidator):
        before = (*before, list(application.allowed_origins))
    for one in applications_in(application):
        yield from origins_before_consumers(one, before, above | {id(application)})


def applications_in(application: Any) -> list[Any]:
    """What an ASGI application may pass a WebSocket on to, as far as it can be seen: what it holds or, where it is a
    function, was made with."""
    if isinstance(application, ProtocolTypeRouter):
        return [application.application_mapping.get("websocket")]
    if isinstance(application, URLRouter):
        return [route.callback for route in application.routes]
    held = [cell.cell_contents for cell in getattr(application, "__closure__", None) or () if cell != CellType()]
    names = {*getattr(application, "__dict__", ()), "application", "inner", "app", "func"}
    held += [getattr(application, name, None) for name in names]
    return [one for one in held if callable(one) and not isinstance(one, type)]


def salt_problems() -> Iterator[CheckMessage]:
    salt = setting("HASHID_SALT")
    if not salt:
        yield Error(
            'LIVEGATE["HASHID_SALT"] is not set.',
            hint="Set it to a long random text of its own, the same for all processes: ids on the wire depend on it.",
            id="livegate.E002",
        )
    elif salt == settings.SECRET_KEY:
        yield Error(
            'LIVEGATE["HASHID_SALT"] is the SECRET_KEY.',
            hint="Hashids give their salt away to a patient reader. Use another text.",
            id="livegate.E003",
        )


def unknown_settings() -> Iterator[CheckMessage]:
    for name in sorted(getattr(settings, "LIVEGATE", {}).keys() - DEFAULTS.keys()):
        yield Error(
            f'LIVEGATE["{name}"] is no setting of livegate.',
            hint=f"Known are {', '.join(sorted(DEFAULTS))}.",
            id="livegate.E004",
        )


def bad_numbers() -> Iterator[CheckMessage]:
    for name, default in DEFAULTS.items():
        if isinstance(default, int | float) and not isinstance(default, bool):
            value = setting(name)
            kind = int if isinstance(default, int) else int | float
            number = isinstance(value, kind) and not isinstance(value, bool)
            if name in MAY_BE_ZERO and not (number and value >= 0):
                yield bad_number(name, "must be a number from 0 on")
            if name not in MAY_BE_ZERO and not (number and value > 0):
                yield bad_number(name, "must be a number above 0")
    if isinstance(setting("HASHID_MIN_LENGTH"), int) and setting("HASHID_MIN_LENGTH") > MAX_LENGTH:
        yield bad_number("HASHID_MIN_LENGTH", f"must not be above {MAX_LENGTH}: no longer hashid is read")
    if isinstance(setting("CANARY_SHARE"), int | float) and setting("CANARY_SHARE") > 1:
        yield bad_number("CANARY_SHARE", "must not be above 1: all decisions")


def bad_switches() -> Iterator[CheckMessage]:
    for name, default in DEFAULTS.items():
        if isinstance(default, bool) and not isinstance(setting(name), bool):
            yield Error(
                f'LIVEGATE["{name}"] is {setting(name)!r}, and must be True or False.',
                hint=f"The default is {default}.",
                id="livegate.E010",
            )


def ledger_problems() -> Iterator[CheckMessage]:
    if setting("LEDGER") not in LEVELS:
        yield bad_number("LEDGER", f"must be one of {', '.join(LEVELS)}")
        return
    if setting("LEDGER") == "off" and not is_on():
        return
    path = setting("LEDGER_SINK")
    try:
        import_string(path)
    except Exception as error:
        yield Error(
            f'LIVEGATE["LEDGER_SINK"] is {path!r}, which can\'t be imported ({type(error).__name__}).',
            hint="Name the class of a sink. livegate's own need livegate.gateway.audit in INSTALLED_APPS.",
            id="livegate.E011",
        )


def bad_number(name: str, rule: str) -> CheckMessage:
    return Error(
        f'LIVEGATE["{name}"] is {setting(name)!r}, and {rule}.',
        hint=f"The default is {DEFAULTS[name]}.",
        id="livegate.E010",
    )


def tracker_problems(publication: Publication) -> Iterator[CheckMessage]:
    """A tracked name that is no column is compared in memory, and says nothing about what a save changed."""
    model = publication.model
    columns = {name for field in model._meta.concrete_fields for name in (field.name, field.attname)}
    for tracker in tracker_names(model):
        for name in sorted(set(getattr(model, tracker).fields) - columns):
            yield Error(
                f"{model._meta.label}.{tracker} tracks {name}, which is no column of the model.",
                hint="Track columns only; tell other changes by notify().",
                obj=model,
                id="livegate.E005",
            )


def watch_problems(publication: Publication) -> Iterator[CheckMessage]:
    if publication.watch is not None and issubclass(publication.model, PushModelMixin):
        yield Error(
            f"{publication.label} inherits PushModelMixin and is published with watch=….",
            hint="Its own saves decide; name the fields in a FieldTracker, and drop watch.",
            obj=publication.model,
            id="livegate.E007",
        )


def unwatched_problems(publication: Publication) -> Iterator[CheckMessage]:
    """A save that takes a right away, and does not count as a change, goes unnoticed until the sweep."""
    model = publication.model
    trackers = tracker_names(model)
    watched = {*(publication.watch or ()), *(name for one in trackers for name in getattr(model, one).fields)}
    if publication.watch is None and not trackers:
        return
    first = {path.split("__")[0] for path in publication.reads}
    for column in model._meta.concrete_fields:
        names = {column.name, column.attname}
        if names & first and not names & watched:
            yield Warning(
                f"A permission of {publication.label} looks at {column.name}, of which a change does not count.",
                hint="Who sees the instance by it keeps it until the next sweep. Track or watch that field, too.",
                obj=model,
                id="livegate.W006",
            )


@from_primary()
def replica_problems(querysets: Iterable[Any]) -> list[CheckMessage]:
    """A queryset that names its database is read there, also where what is written comes to that one later."""
    if not setting("READ_PRIMARY"):
        return []
    read = [(one.model, one.db, router.db_for_write(one.model)) for one in querysets]
    return [
        Warning(
            f"{model._meta.label} is read from the database {named}, and written to {primary}.",
            hint="If that is a replica, leave using() away: who lost a right there keeps it as long as it lags.",
            obj=model,
            id="livegate.W008",
        )
        for model, named, primary in read
        if named != primary
    ]


def guard_problems(publication: Publication) -> Iterator[CheckMessage]:
    if is_serializer(publication.serializer):
        seen: set[type] = set()
        try:
            for serializer in all_serializers(publication.serializer(), seen):  # type: ignore[call-arg]
                yield from guard_problems_of(serializer)
        except Exception as error:
            yield Warning(
                f"The serializer of {publication.label} can't be looked into here: {type(error).__name__}.",
                hint="It may need a request. Its guards are not checked then; a mistake in them shows when it is used.",
                obj=publication.model,
                id="livegate.W003",
            )


def guard_problems_of(serializer: BaseSerializer[Any]) -> Iterator[CheckMessage]:
    guards, name = guards_of(type(serializer)), type(serializer).__name__
    if guards and not isinstance(serializer, PerUserSerializerMixin):
        yield Error(
            f"{name} declares guards, but nothing asks them.",
            hint=f"Write class {name}(PerUserSerializerMixin, …).",
            obj=type(serializer),
            id="livegate.E008",
        )
    for unknown in unknown_guards(serializer):
        yield Error(
            f"{name} guards {unknown}, which is no field of it.",
            hint="A misspelt guard leaves the field open. Mend the name, or remove the guard.",
            obj=type(serializer),
            id="livegate.E009",
        )


def all_serializers(serializer: Any, seen: set[type]) -> Iterator[BaseSerializer[Any]]:
    """A serializer and all that are nested in it, one of each class."""
    if isinstance(serializer, serializers.ListSerializer):
        serializer = serializer.child
    if isinstance(serializer, BaseSerializer) and type(serializer) not in seen:
        seen.add(type(serializer))
        yield serializer
        for field in getattr(serializer, "fields", {}).values():
            yield from all_serializers(field, seen)
