"""The viewer: who looks, through a socket or a request, and what else may shape what they see."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import DisallowedHost, ValidationError
from django.core.handlers.asgi import ASGIRequest
from django.db.models import Model
from django.utils import timezone, translation

from .lookups import Among

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from django.http import HttpRequest
    from rest_framework.request import Request

LOCALE_MIDDLEWARE = "django.middleware.locale.LocaleMiddleware"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A user, with the language, time zone, scheme and host in which things are shown to them.

    Two viewers are equal when all of it is, the user by model and primary key: what is shown to the one is what is
    shown to the other. The user of a viewer that came from a socket is as old as the socket and decides
    nothing: see ``refresh``.
    """

    user: Any = field(compare=False)  # what AUTH_USER_MODEL names, or an AnonymousUser
    language: str
    time_zone: str
    scheme: str
    host: str
    # Who the user is: (model, primary key), kept from when the viewer was made; None for an anonymous one.
    identity: tuple[type | None, Any] | None = field(init=False, repr=False)
    # The primary key of the user; None for an anonymous one, and for an account of another model.
    user_key: Any = field(init=False, repr=False, compare=False)
    # All but the user that may shape what is shown.
    surroundings: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)  # viewers are looked up all the time

    def __post_init__(self) -> None:
        model = self.user._meta.concrete_model if isinstance(self.user, Model) else None
        known = (model, getattr(self.user, "pk", None)) if self.user.is_authenticated else None
        object.__setattr__(self, "identity", known)
        object.__setattr__(self, "user_key", user_key(known))
        object.__setattr__(self, "surroundings", (self.language, self.time_zone, self.scheme, self.host))
        object.__setattr__(self, "_hash", hash((*self.surroundings, known)))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def of_request(cls, request: HttpRequest | Request) -> Viewer:
        """The viewer that a request in progress comes from, in the language and time zone now active."""
        return cls(
            user=request.user or AnonymousUser(),  # DRF's UNAUTHENTICATED_USER may be None
            language=translation.get_language() or settings.LANGUAGE_CODE,
            time_zone=timezone.get_current_timezone_name(),
            scheme=request.scheme or "http",
            host=host_of(request),
        )

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any]) -> Viewer:
        """The viewer at the other end of a WebSocket, read from its ASGI scope.

        A scope without a user is an anonymous viewer. The language is the one that a GET with the headers of
        the handshake would be answered in; the time zone is ``TIME_ZONE``. A middleware that knows better sets
        ``scope["language"]`` or ``scope["time_zone"]`` (an IANA name).
        """
        handshake = request_from(
            scheme={"ws": "http", "wss": "https"}.get(scope.get("scheme", "ws"), "http"),
            headers=scope.get("headers", []),
            server=scope.get("server"),
        )
        negotiated = LOCALE_MIDDLEWARE in settings.MIDDLEWARE
        language = translation.get_language_from_request(handshake) if negotiated else settings.LANGUAGE_CODE
        return cls(
            user=scope.get("user") or AnonymousUser(),
            language=scope.get("language") or language,
            time_zone=scope.get("time_zone") or settings.TIME_ZONE,
            scheme=handshake.scheme or "http",
            host=host_of(handshake),
        )

    def request(self) -> ASGIRequest:
        """A GET by this viewer, as an HTTP server would have handed it to Django: no query string, no cookies."""
        request = self.bare_request()
        request.user = self.user
        return request

    def bare_request(self, kind: type[ASGIRequest] = ASGIRequest) -> ASGIRequest:
        """The same, without a word about the user."""
        headers = [(b"host", self.host.encode("latin1"))] if self.host else []
        return request_from(scheme=self.scheme, headers=headers, kind=kind)

    @contextmanager
    def locale(self) -> Iterator[None]:
        """Within it, texts and times are made in this viewer's language and time zone."""
        with ExitStack() as stack:
            stack.enter_context(translation.override(self.language))
            stack.enter_context(timezone.override(self.time_zone))
            yield


def user_key(identity: tuple[type | None, Any] | None) -> Any:
    """The primary key of who that is, if it is a user."""
    users = get_user_model()
    model, key = identity or (None, None)
    if model is not users._meta.concrete_model:
        return None
    try:
        return users._meta.pk.to_python(key)
    except ValidationError:
        return None


def refresh(viewers: Iterable[Viewer]) -> dict[Viewer, Viewer]:
    """Each viewer with their user as the database has it now, in one query.

    A viewer whose user was deleted or deactivated is left out: nobody is there to show anything to. So is one who
    logged in as something else than a user: an account of another model is not the user of the same key. The users
    are new instances, so that no permission which an earlier instance has cached can decide anything.
    """
    asked = list(dict.fromkeys(viewers))
    wanted = {viewer.user_key for viewer in asked} - {None}
    users = {user.pk: user for user in get_user_model()._default_manager.filter(Among("pk", wanted))}
    fresh: dict[Viewer, Viewer] = {}
    for viewer in asked:
        if viewer.identity is None:
            fresh[viewer] = replace(viewer, user=AnonymousUser())
        elif (user := users.get(viewer.user_key)) is not None and user.is_active:
            fresh[viewer] = replace(viewer, user=user)
    return fresh


def request_from(
    *,
    scheme: str,
    headers: Iterable[tuple[bytes, bytes]],
    server: tuple[str, int] | None = None,
    kind: type[ASGIRequest] = ASGIRequest,
) -> ASGIRequest:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "scheme": scheme,
        "headers": list(headers),
        "server": server,
    }
    return kind(scope, BytesIO())


def host_of(request: HttpRequest | Request) -> str:
    """The host that the client named, or '' where it is not one of ours (``ALLOWED_HOSTS``): no links are built."""
    try:
        return request.get_host()
    except DisallowedHost:
        return ""
