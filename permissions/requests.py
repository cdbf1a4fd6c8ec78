"""The request that a viewer would make: for DRF code that expects one, where there is only a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request

if TYPE_CHECKING:
    from django.db.models import Model

    from .audiences import Audience
    from .rights import Rights
    from .viewers import Viewer


# The rights of all viewers of the evaluation that a request is made for; beside it, because who has it looks into it.
_rights: WeakKeyDictionary[HttpRequest, Rights] = WeakKeyDictionary()


class SharedHttpRequest(ASGIRequest):
    """A GET by any viewer of an audience. It has what they have in common; who they are is not in it."""

    audience: Audience

    @property
    def user(self) -> Any:
        self.audience.reach("request.user was read")

    @user.setter
    def user(self, user: Any) -> None:
        self.audience.reach("request.user was set")

    def __reduce_ex__(self, protocol: Any) -> Any:
        self.audience.reach("request was copied")  # and a copy would be nobody's


class SharedRequest(Request):
    """The same, as DRF has it: ``user`` and ``auth`` are looked up by authenticating."""

    @property
    def http_request(self) -> SharedHttpRequest:
        return cast("SharedHttpRequest", self._request)

    @property
    def authenticators(self) -> Any:
        self.http_request.audience.reach("request.authenticators was read")

    @authenticators.setter
    def authenticators(self, authenticators: Any) -> None:
        """There are none."""

    def _authenticate(self) -> None:
        self.http_request.audience.reach("request.user was read")


def retrieval(viewer: Viewer, instance: Model, rights: Rights | None = None) -> GenericAPIView[Model]:
    """A DRF view in the middle of answering this viewer's GET of this instance; its request is at ``.request``.

    DRF serializers and permission classes find in it what they look for: the user, the host, the action, the
    model's queryset. There is nothing in it of the socket's cookies, query string or address.
    """
    request = viewer.request()
    # DRF's own way to say who is asking (rest_framework.test uses it); assigning Request.user would be undone
    # by the first look at Request.auth.
    request._force_auth_user = viewer.user  # type: ignore[attr-defined]
    if rights is not None:
        _rights[request] = rights
    return answering(request, Request, instance)


def shared_retrieval(audience: Audience, instance: Model) -> GenericAPIView[Model]:
    """The same for all viewers of an audience, who have language, time zone, scheme and host in common. To look in it
    for the user ends the sharing."""
    request = next(iter(audience.viewers)).bare_request(SharedHttpRequest)
    request.audience = audience  # type: ignore[attr-defined]
    _rights[request] = audience.rights
    return answering(request, SharedRequest, instance)


def answering(http_request: HttpRequest, kind: type[Request], instance: Model) -> GenericAPIView[Model]:
    view: GenericAPIView[Model] = GenericAPIView()
    view.queryset = type(instance)._default_manager.all()  # type: ignore[arg-type]  # the stubs see a descriptor
    view.args, view.kwargs = (), {"pk": instance.pk}
    view.action = "retrieve"  # type: ignore[attr-defined]
    view.format_kwarg = None
    view.request = kind(http_request, parser_context={"view": view, "args": (), "kwargs": view.kwargs})
    return view


def audience_of(request: Any) -> Audience | None:
    """The audience that a shared request is for; None for the request of one user."""
    http_request = getattr(request, "_request", request)
    return http_request.audience if isinstance(http_request, SharedHttpRequest) else None


def rights_of(request: Any) -> Rights | None:
    """The rights of all viewers of the evaluation that a request is made for; None outside of one, and without one."""
    http_request = getattr(request, "_request", request)
    return _rights.get(http_request) if isinstance(http_request, HttpRequest) else None
