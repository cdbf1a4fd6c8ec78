"""Credentials: by what right a client is connected, and whether that right still holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model, load_backend
from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions.backends import cached_db, db
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from ..permissions.lookups import Among
from .logs import report
from .notices import token_of_session, token_of_user
from .primary import from_primary

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from django.contrib.sessions.backends.base import SessionBase

    from ..permissions.viewers import Viewer

# The session engines whose sessions are rows of a table, and are read together.
IN_ROWS = (db.SessionStore.load, cached_db.SessionStore.load)


@dataclass(frozen=True, eq=False, slots=True)
class Credentials:
    """What a socket was opened with.

    ``session`` is the one in the scope from which it is known who the user is, if it is known from one. ``expires`` is
    the end of the right to be connected, and ``is_valid`` tells whether it holds; whoever puts a user into the scope
    may put them there, too.
    """

    viewer: Viewer
    session: SessionBase | None
    session_key: str | None
    expires: datetime | None
    is_valid: Callable[[], bool] | None

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any], viewer: Viewer) -> Credentials:
        """The credentials in an ASGI scope: its ``session``, ``expires`` (an aware datetime) and ``is_valid`` (a plain
        function without arguments, that may ask the database). Raises TypeError for what is neither.

        Reads the session, where nobody has read it yet.
        """
        session, expires, is_valid = scope.get("session"), scope.get("expires"), scope.get("is_valid")
        if not (expires is None or (isinstance(expires, datetime) and expires.tzinfo)):
            raise TypeError('scope["expires"] is to be a datetime with a time zone.')
        if not (is_valid is None or callable(is_valid)) or iscoroutinefunction(is_valid):
            raise TypeError('scope["is_valid"] is to be a plain function.')
        if session is None or viewer.user_key is None or user_in(session) != viewer.user_key:
            session = None  # it was not the session that told who it is
        return cls(viewer, session, getattr(session, "session_key", None), expires, is_valid)

    @property
    def user_token(self) -> str:
        """What stands for the user in notices."""
        return token_of_user(self.viewer.user_key)

    @property
    def session_token(self) -> str:
        """What stands for the session in notices."""
        return token_of_session(self.session_key)

    @property
    def seconds_left(self) -> float | None:
        """Until it expires; None where it does not."""
        return None if self.expires is None else (self.expires - datetime.now(UTC)).total_seconds()


@from_primary()
def ended(credentials: Collection[Credentials]) -> set[Credentials]:
    """Those that give no right to be connected any more: the user was deleted or deactivated, the session is over, is
    another's or was opened with another password, they have expired, or are not valid.

    One query for the users, and one for the sessions where they are rows of a table, and none of a replica; raises what
    the database raises then. Where it can't be told of some, for an error in ``is_valid`` or in a session engine, these
    are not among them, and it is logged as ``sockets_unexamined``.
    """
    keys = {one.viewer.user_key for one in credentials} - {None}
    users = {user.pk: user for user in get_user_model()._default_manager.filter(Among("pk", keys))} if keys else {}
    rows = rows_of([one.session for one in credentials if one.session is not None])
    over: set[Credentials] = set()
    errors: list[Exception] = []
    for one in credentials:
        try:
            if has_ended(one, users, rows):
                over.add(one)
        except Exception as error:
            errors.append(error)
    if errors:
        report("sockets_unexamined", f"Whether {len(errors)} sockets may stay can't be told yet.", errors[0])
    return over


def has_ended(credentials: Credentials, users: Mapping[Any, Any], rows: Mapping[Any, Mapping[str, Any]]) -> bool:
    """Whether one has, by the users and sessions that there are now."""
    key, seconds, session = credentials.viewer.user_key, credentials.seconds_left, credentials.session
    if key is not None and not (key in users and users[key].is_active):
        return True
    if seconds is not None and seconds <= 0:
        return True
    if credentials.is_valid is not None and credentials.is_valid() is not True:
        return True
    if session is None:
        return False
    kind: Any = session.__class__  # of what a LazyObject stands for
    held = rows.get(credentials.session_key, {}) if is_in_rows(kind) else kind(credentials.session_key).load()
    return not is_session_of(held, users[key])


def user_in(session: Mapping[str, Any] | SessionBase) -> Any:
    """The primary key of the user who is logged in in a session; None where nobody is."""
    try:
        return get_user_model()._meta.pk.to_python(session.get(SESSION_KEY))
    except ValidationError:  # of an account of another model
        return None


def is_session_of(session: Mapping[str, Any], user: Any) -> bool:
    """Whether this is a session in which the user is logged in with the password that they have now, and would still be
    let in; as in Django's own ``get_user``."""
    path: Any = session.get(BACKEND_SESSION_KEY)
    if user_in(session) != user.pk or path not in settings.AUTHENTICATION_BACKENDS or not is_let_in(path, user):
        return False
    if not hasattr(user, "get_session_auth_hash"):
        return True
    held = session.get(HASH_SESSION_KEY) or ""
    return any(constant_time_compare(held, valid) for valid in hashes_of(user))


def is_let_in(path: str, user: Any) -> bool:
    """Whether the backend by which they logged in takes them for a user. Django's own is asked about the user that was
    read; another reads for itself."""
    backend: Any = load_backend(path)
    if type(backend).get_user is ModelBackend.get_user:
        return bool(backend.user_can_authenticate(user))
    return backend.get_user(user.pk) is not None


def hashes_of(user: Any) -> Iterator[str]:
    yield user.get_session_auth_hash()
    yield from user.get_session_auth_fallback_hash()


def is_in_rows(kind: type[Any]) -> bool:
    return issubclass(kind, db.SessionStore) and kind.load in IN_ROWS


def rows_of(sessions: Collection[SessionBase]) -> dict[Any, Mapping[str, Any]]:
    """What the sessions that are rows hold now, by their keys; those that are over are left out."""
    by_kind: dict[Any, list[str]] = {}
    for session in sessions:
        if is_in_rows(session.__class__) and session.session_key:
            by_kind.setdefault(session.__class__, []).append(session.session_key)
    found: dict[Any, Mapping[str, Any]] = {}
    for kind, keys in by_kind.items():
        all_rows = kind.get_model_class()._default_manager
        rows = all_rows.filter(Among("session_key", keys), expire_date__gt=timezone.now())
        found |= {row.session_key: kind().decode(row.session_data) for row in rows}
    return found
