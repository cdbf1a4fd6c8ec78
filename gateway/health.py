"""Health: whether this process hears of changes, for load balancers and for those who look after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_not_required
from django.http import JsonResponse

from .hub import listening

if TYPE_CHECKING:
    from django.http import HttpRequest

# Neither may be kept: it is about this moment.
HEADERS = {"Cache-Control": "no-store"}
WELL = {"status": "ok"}
DEAF = {"status": "unavailable", "detail": "This process does not hear the channel layer."}


@login_not_required
async def health(request: HttpRequest) -> JsonResponse:
    """A view for your ``urlpatterns``: 503 when this process has sockets, but does not hear the channel layer, so that
    what it shows may be behind; else 200.

    It speaks of the process and the event loop that answer it. It reads no database, and tells an anonymous visitor
    nothing about anybody.
    """
    if listening() is False:
        return JsonResponse(DEAF, status=503, headers=HEADERS)
    return JsonResponse(WELL, headers=HEADERS)
