"""The tables of the audit: the ledger's, whose rows are written once and never changed; and those by which the register
is asked, whose rows come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from django.db import models, router, transaction
from django.db.models import Q

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ..entries import Entry
    from ..subscriptions import Key

# How many rows are removed in one transaction.
BATCH = 5_000
TOO_LONG = "…"  # where a text was cut


class AppendOnly(Exception):
    """Somebody tried to change or delete an entry of the ledger."""

    def __init__(self) -> None:
        super().__init__(
            "The ledger is only added to. Old entries are removed by LedgerEntry.objects.prune(before), or "
            "manage.py livegate_ledger prune."
        )


class LedgerQuerySet(models.QuerySet["LedgerEntry"]):
    """Entries, which can be read and added."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnly

    async def aupdate(self, **kwargs: Any) -> NoReturn:
        raise AppendOnly

    def delete(self) -> NoReturn:
        raise AppendOnly

    async def adelete(self) -> NoReturn:
        raise AppendOnly

    def bulk_create(self, *args: Any, **options: Any) -> list[LedgerEntry]:
        if options.get("update_conflicts"):
            raise AppendOnly
        return super().bulk_create(*args, **options)

    def prune(self, before: datetime, *, batch: int = BATCH) -> int:
        """Remove for good the entries from before this moment; gives how many there were.

        In transactions of at most ``batch`` rows each, the oldest first: nobody who writes waits for long, and what is
        removed when it is interrupted stays so.
        """
        using = router.db_for_write(self.model)
        old = self.using(using).filter(at__lt=before).order_by("at")
        removed = 0
        while keys := list(old.values_list("pk", flat=True)[:batch]):
            with transaction.atomic(using=using):
                removed += models.QuerySet(self.model, using=using).filter(pk__in=keys)._raw_delete(using)
        return removed


class LedgerEntry(models.Model):
    """An ``Entry`` as a row; its columns are what the fields of that are.

    To save or delete one that is there raises AppendOnly, and so does to change them by a queryset. Against raw SQL and
    ``loaddata``, rights in the database help.
    """

    class Kind(models.TextChoices):
        OPENED = "opened"
        CLOSED = "closed"
        ADMITTED = "admitted"
        REFUSED = "refused"
        ENDED = "ended"
        SHOWN = "shown"
        WITHHELD = "withheld"
        TAKEN = "taken"
        LOST = "lost"

    at = models.DateTimeField("time")
    kind = models.CharField(max_length=10, choices=Kind)
    process = models.CharField(max_length=64)
    number = models.PositiveBigIntegerField()
    users = models.JSONField(default=list)
    sockets = models.JSONField(default=list)
    model = models.CharField(max_length=201)  # an app's label and a model's name
    key = models.CharField(max_length=64)
    hashid = models.CharField(max_length=64)
    etag = models.CharField("ETag", max_length=64)
    fields = models.JSONField(default=list)
    basis = models.TextField()
    cause = models.CharField(max_length=80)
    of = models.PositiveBigIntegerField(null=True)
    code = models.PositiveSmallIntegerField(null=True)
    missing = models.PositiveBigIntegerField(default=0)

    objects = LedgerQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        verbose_name = "ledger entry"
        verbose_name_plural = "ledger entries"
        constraints = [models.UniqueConstraint(fields=["process", "number"], name="livegate_audit_entry_once")]
        # And on PostgreSQL, made by the migration, a GIN index on the users.
        indexes = [
            models.Index(fields=["model", "key", "at"], name="livegate_audit_object"),
            models.Index(fields=["kind", "at"], name="livegate_audit_kind"),
            models.Index(fields=["at"], name="livegate_audit_at"),
            models.Index(fields=["process", "of"], name="livegate_audit_of", condition=Q(of__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.kind}, entry {self.number} of {self.process}"

    @classmethod
    def of_entry(cls, entry: Entry) -> LedgerEntry:
        """The row of an entry, not saved. What no column holds is cut or replaced: clients send what they like, and an
        entry that can't be written would keep back all others."""
        return cls(
            at=entry.at,
            kind=entry.kind,
            process=entry.process,
            number=entry.number,
            users=clean_all(entry.users),
            sockets=list(entry.sockets),
            model=cut(entry.model, 201),
            key=cut(entry.key, 64),
            hashid=cut(entry.hashid, 64),
            etag=cut(entry.etag, 64),
            fields=clean_all(entry.fields),
            basis=clean(entry.basis),
            cause=cut(entry.cause, 80),
            of=entry.of,
            code=entry.code,
            missing=entry.missing,
        )

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly
        super().save_base(*args, **{**kwargs, "force_insert": True})

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly


class RunningHub(models.Model):
    """A process that has sockets, or more exactly one of its event loops, as long as it says that it is there.

    What is there to be seen and done about it is the register's; ``since`` and ``seen`` are by the database's clock.
    """

    identity = models.CharField(max_length=16, primary_key=True)
    host = models.CharField(max_length=255)
    pid = models.PositiveBigIntegerField()
    since = models.DateTimeField()
    seen = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        permissions = [("close_sockets", "Can close sockets")]
        verbose_name = "process with sockets"
        verbose_name_plural = "register: who is subscribed now"

    def __str__(self) -> str:
        return f"{self.identity} ({self.host}, process {self.pid})"


class RollCall(models.Model):
    """Somebody asks who is there. No process answers to a name that is not here.

    Where an object is named, by its model's label and its hashid, it is asked about that one alone.
    """

    token = models.CharField(max_length=32, primary_key=True)
    at = models.DateTimeField()
    model = models.CharField(max_length=201, default="")
    hashid = models.CharField(max_length=64, default="")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"roll call at {self.at}"

    @property
    def about(self) -> Key | None:
        return (self.model, self.hashid) if self.model else None


class RollSheet(models.Model):
    """A part of what one process answers; ``sockets`` is what ``attendance.sheets`` makes. Where it is asked about one
    object, the last sheet has what the process knows of its ``changes``, as ``changes.row_of`` makes it."""

    roll = models.ForeignKey(RollCall, models.CASCADE, related_name="sheets")
    process = models.CharField(max_length=16)
    number = models.PositiveIntegerField()
    is_last = models.BooleanField()
    sockets = models.JSONField()
    changes = models.JSONField(default=list)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["roll", "process", "number"], name="livegate_audit_sheet_once")]

    def __str__(self) -> str:
        return f"sheet {self.number} of {self.process}"


def clean(text: str) -> str:
    """The text without what PostgreSQL takes in no text: NUL, and halves of characters."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def clean_all(texts: Sequence[str]) -> list[str]:
    """Each of them, clean. They are looked at together: nearly always all of them are, and there may be thousands."""
    together = "".join(texts)
    return list(texts) if clean(together) == together else [clean(text) for text in texts]


def cut(text: str, length: int) -> str:
    """The text, clean, and not longer than that. One that was cut says so, and is nothing else that fits."""
    text = clean(text)
    return text if len(text) <= length else text[: length - 1] + TOO_LONG
