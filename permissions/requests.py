"""The request that a viewer would make: for DRF code that expects one, where there is only a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.generics import GenericAPIView
from rest_framework.request import Request

if TYPE_CHECKING:
    from django.db.models import Model

    from .viewers import Viewer


def retrieval(viewer: Viewer, instance: Model) -> GenericAPIView[Model]:
    """A DRF view in the middle of answering this viewer's GET of this instance; its request is at ``.request``.

    DRF serializers and permission classes find in it what they look for: the user, the host, the action, the
    model's queryset. There is nothing in it of the socket's cookies, query string or address.
    """
    http_request = viewer.request()
    # DRF's own way to say who is asking (rest_framework.test uses it); assigning Request.user would be undone
    # by the first look at Request.auth.
    http_request._force_auth_user = viewer.user  # type: ignore[attr-defined]
    view: GenericAPIView[Model] = GenericAPIView()
    view.queryset = type(instance)._default_manager.all()  # type: ignore[arg-type]  # the stubs see a descriptor
    view.args, view.kwargs = (), {"pk": instance.pk}
    view.action = "retrieve"  # type: ignore[attr-defined]
    view.format_kwarg = None
    view.request = Request(http_request, parser_context={"view": view, "args": (), "kwargs": view.kwargs})
    return view
