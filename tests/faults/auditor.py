"""A process that asks the ledger. It is told what by the management command ``audit``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db.models import Sum

from livegate.gateway.audit import ledger
from livegate.gateway.audit.models import LedgerEntry
from livegate.serializers.hashids import decode


class Auditor:
    """Its public methods are the commands; what they give is the reply. They speak of what happened since ``begin``."""

    def __init__(self) -> None:
        self._since = datetime.now(UTC)

    def begin(self) -> None:
        self._since = datetime.now(UTC)

    def shown(self, keys: list[tuple[str, str]]) -> list[Any]:
        """Each time that somebody was shown one of these objects: the name, the process, the label, the hashid, the
        ETag, and the names of the fields."""
        names = {"": "", **{str(user.pk): user.username for user in get_user_model().objects.all()}}
        return [
            (names[one.user], one.process, one.model, one.hashid, one.etag, sorted(one.fields))
            for label, hashid in keys
            for one in ledger.who_saw(instance_of(label, hashid), since=self._since)
        ]

    def lost(self) -> int:
        """How many entries could not be kept."""
        return self._entries.filter(kind="lost").aggregate(lost=Sum("missing", default=0))["lost"]

    def entries(self) -> int:
        """How many there are, of whatever time."""
        return LedgerEntry.objects.count()

    @property
    def _entries(self) -> Any:
        return LedgerEntry.objects.filter(at__gte=self._since)


def instance_of(label: str, hashid: str) -> Any:
    """It need not be there."""
    model = apps.get_model(label)
    return model(pk=decode(model, hashid))
