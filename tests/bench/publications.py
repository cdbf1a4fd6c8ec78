"""The publication: one, where the process is livegate's, with the serializer of its contestant."""

import os

from livegate.gateway.publications import publish
from livegate.permissions import has_perm, is_owner

from .contestants import CONTESTANTS, VARIABLE
from .models import Card
from .serializers import DistinctSerializer, GuardedSerializer, OpenSerializer, PersonalSerializer

SERIALIZERS = {
    "open": OpenSerializer,
    "guarded": GuardedSerializer,
    "distinct": DistinctSerializer,
    "personal": PersonalSerializer,
}

contestant = CONTESTANTS.get(os.environ.get(VARIABLE, ""))
if contestant is not None and contestant.kind == "livegate":
    publish(Card, SERIALIZERS[contestant.shows], to=has_perm("view_card") | is_owner("owner"))
