"""The truth: what a GET through DRF gives each viewer, in a process that has nothing to do with the sockets."""

from __future__ import annotations

import json
import sys
from typing import Any

import django

from .rights import username
from .verification import fingerprint


def views(wanted: list[list[Any]]) -> list[str | None]:
    """The view of each of these viewers (their numbers) of one object (its hashid), in short; None where a GET shows
    them nothing."""
    from django.contrib.auth import get_user_model
    from rest_framework.test import APIRequestFactory, force_authenticate

    show = card_view()
    found = []
    for viewer, hashid in wanted:
        request = APIRequestFactory().get("/")
        # Read anew for each: a user remembers the permissions that were asked for.
        force_authenticate(request, get_user_model().objects.get(username=username(viewer)))
        response = show(request, hashid=hashid).render()
        is_shown = response.status_code == 200
        found.append(fingerprint(response["ETag"].strip('"'), json.loads(response.content)) if is_shown else None)
    return found


def card_view() -> Any:
    """A plain view of a card; guardian is asked who may see it, as in any project."""
    from rest_framework.generics import RetrieveAPIView
    from rest_framework.permissions import BasePermission

    from livegate.serializers import ETagMixin, HashidLookupMixin

    from .models import Card
    from .serializers import GuardedSerializer

    class MaySee(BasePermission):
        def has_object_permission(self, request: Any, view: Any, card: Any) -> bool:
            return card.owner_id == request.user.pk or request.user.has_perm("bench.view_card", card)

    class CardView(ETagMixin, HashidLookupMixin, RetrieveAPIView):
        queryset = Card.objects.all()
        serializer_class = GuardedSerializer
        permission_classes = [MaySee]

    return CardView.as_view()


def serve() -> None:
    """Carry out one command after the other, each a line of JSON: its name and its arguments."""
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps({"views": views}[name](**arguments)), flush=True)


if __name__ == "__main__":
    django.setup()
    serve()
