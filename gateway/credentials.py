"""Credentials: by what right a client is connected, and whether that right still holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends import cached_db, db
from django.core.exceptions import ValidationError
from django.db import Error as DatabaseFailure
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from ..permissions.lookups import Among
from .logs import report
from .notices import token_of_session, token_of_user

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from django.contrib.sessions.backends.base import SessionBase

    from ..permissions.viewers import Viewer

# The session engines whose sessions are rows of a table, and are read together.
IN_ROWS = (db.SessionStore.load, cached_db.SessionStore.load)


@dataclass(frozen=True, eq=False, slots=True)
class Credentials:
    """What a socket was opened with.

    ``session`` is the one in the scope, if any. ``expires`` is the end of the right to be connected, and ``is_valid``
    tells whether it holds; whoever puts a user into the scope may put them there, too.
    """

    viewer: Viewer
    session: SessionBase | None
    session_key: str | None
    expires: datetime | None
    is_valid: Callable[[], bool] | None

    @classmethod
    def of_scope(cls, scope: Mapping[str, Any], viewer: Viewer) -> Credentials:
        """The credentials in an ASGI scope: its ``session``, ``expires`` (an aware datetime) and ``is_valid`` (a plain
        function without arguments, that may ask the database). Raises TypeError for what is neither."""
        session, expires, is_valid = scope.get("session"), scope.get("expires"), scope.get("is_valid")
        if not (expires is None or (isinstance(expires, datetime) and expires.tzinfo)):
            raise TypeError('scope["expires"] is to be a datetime with a time zone.')
        if not (is_valid is None or callable(is_valid)) or iscoroutinefunction(is_valid):
            raise TypeError('scope["is_valid"] is to be a plain function.')
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


def ended(credentials: Collection[Credentials]) -> set[Credentials]:
    """Those that give no right to be connected any more: the user was deleted or deactivated, the session is over, is
    another's or was opened with another password, they have expired, or are not valid.

    One query for the users, and one for the sessions where they are rows of a table. Raises what the database raises.
    Where a session engine or ``is_valid`` fails for some, those are not among them, and it is logged as
    ``sockets_unexamined``: whether they have ended is not known yet.
    """
    try:
        return ended_together(credentials)
    except DatabaseFailure:
        raise
    except Exception as error:
        if len(credentials) == 1:
            report("sockets_unexamined", "Whether a socket may stay can't be told yet.", error)
            return set()
        one, *others = chunks(list(credentials))
        return ended(one).union(*map(ended, others))


def chunks(credentials: list[Credentials]) -> list[list[Credentials]]:
    """Ten parts of equal size, or fewer: so that a few that fail are soon by themselves."""
    size = -(-len(credentials) // 10)
    return [credentials[start : start + size] for start in range(0, len(credentials), size)]


def ended_together(credentials: Collection[Credentials]) -> set[Credentials]:
    keys = {one.viewer.user_key for one in credentials} - {None}
    users = {user.pk: user for user in get_user_model()._default_manager.filter(Among("pk", keys))} if keys else {}
    over = {one for one in credentials if not is_there(one, users) or is_over(one)}
    by_session = [one for one in credentials if one not in over and is_by_session(one)]
    sessions = load([one.session for one in by_session if one.session is not None])
    for one in by_session:
        if not is_session_of(sessions.get(one.session_key, {}), users[one.viewer.user_key]):
            over.add(one)
    return over


def is_there(credentials: Credentials, users: Mapping[Any, Any]) -> bool:
    """Whether nobody has to be there, or the user is."""
    key = credentials.viewer.user_key
    return key is None or (key in users and users[key].is_active)


def is_over(credentials: Credentials) -> bool:
    seconds = credentials.seconds_left
    if seconds is not None and seconds <= 0:
        return True
    return credentials.is_valid is not None and credentials.is_valid() is not True


def is_by_session(credentials: Credentials) -> bool:
    """Whether it was the session that told who the user is. It is asked as it was when the socket was opened."""
    session, key = credentials.session, credentials.viewer.user_key
    return session is not None and key is not None and user_in(session) == key


def user_in(session: Mapping[str, Any] | SessionBase) -> Any:
    """The primary key of the user who is logged in in a session; None where nobody is."""
    try:
        return get_user_model()._meta.pk.to_python(session.get(SESSION_KEY))
    except ValidationError:  # of an account of another model
        return None


def is_session_of(session: Mapping[str, Any], user: Any) -> bool:
    """Whether this is a session in which the user is logged in with the password that they have now; as in Django's own
    ``get_user``."""
    if user_in(session) != user.pk or session.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return False
    if not hasattr(user, "get_session_auth_hash"):
        return True
    held = session.get(HASH_SESSION_KEY) or ""
    return any(constant_time_compare(held, valid) for valid in hashes_of(user))


def hashes_of(user: Any) -> Iterator[str]:
    yield user.get_session_auth_hash()
    yield from user.get_session_auth_fallback_hash()


def load(sessions: Collection[SessionBase]) -> dict[str | None, Mapping[str, Any]]:
    """What the sessions hold now, by their keys; those that are over hold nothing."""
    found: dict[str | None, Mapping[str, Any]] = {}
    in_rows: dict[type[Any], dict[str, SessionBase]] = {}
    for session in sessions:
        kind: Any = session.__class__  # of what a LazyObject stands for
        key = session.session_key
        if key is not None and issubclass(kind, db.SessionStore) and kind.load in IN_ROWS:
            in_rows.setdefault(kind, {})[key] = session
        else:
            found[key] = kind(key).load()
    for kind, by_key in in_rows.items():
        rows = kind.get_model_class()._default_manager.filter(
            Among("session_key", by_key), expire_date__gt=timezone.now()
        )
        found |= {row.session_key: kind().decode(row.session_data) for row in rows}
    return found
