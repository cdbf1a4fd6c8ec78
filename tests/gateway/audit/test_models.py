"""The ledger's table: what is in it stays as it is, and goes by retention only."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from ledgers import NOON, kept, made

from livegate.gateway.audit.models import AppendOnly, LedgerEntry, clean, cut

pytestmark = pytest.mark.django_db


@pytest.fixture
def entry():
    kept(made(users=("1",), basis="is_owner=yes"))
    return LedgerEntry.objects.get()


def test_no_migration_is_missing():
    call_command("makemigrations", "livegate_audit", check=True, dry_run=True, verbosity=0)


def test_the_index_of_users_is_made_where_it_can_be():
    with connection.cursor() as cursor:
        made_there = connection.introspection.get_constraints(cursor, LedgerEntry._meta.db_table)

    expected = {index.name for index in LedgerEntry._meta.indexes} | {"livegate_audit_entry_once"}
    if connection.vendor == "postgresql":
        expected.add("livegate_audit_users")
        assert made_there["livegate_audit_users"]["type"] == "gin"
    assert expected <= made_there.keys()


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.save(),
        lambda entry: entry.save(update_fields=["basis"]),
        lambda entry: entry.save(force_update=True),
        lambda entry: entry.delete(),
        lambda entry: LedgerEntry.objects.update(basis=""),
        lambda entry: LedgerEntry.objects.filter(pk=entry.pk).delete(),
        lambda entry: LedgerEntry.objects.bulk_update([entry], ["basis"]),
        lambda entry: LedgerEntry.objects.update_or_create(pk=entry.pk, defaults={"basis": ""}),
        lambda entry: LedgerEntry.objects.bulk_create(
            [entry], update_conflicts=True, update_fields=["basis"], unique_fields=["process", "number"]
        ),
    ],
)
def test_an_entry_is_never_changed_nor_deleted(entry, change):
    entry.basis = "forged"

    with pytest.raises(AppendOnly, match="only added to"), transaction.atomic():
        change(entry)

    assert LedgerEntry.objects.get().basis == "is_owner=yes"


async def test_nor_from_async_code():
    with pytest.raises(AppendOnly):
        await LedgerEntry.objects.aupdate(basis="")
    with pytest.raises(AppendOnly):
        await LedgerEntry.objects.adelete()


def test_nor_by_one_of_the_same_key(entry):
    forged = LedgerEntry(pk=entry.pk, at=NOON, kind="shown", process="p", number=entry.number, basis="forged")

    with pytest.raises(IntegrityError), transaction.atomic():
        forged.save()

    assert LedgerEntry.objects.get().basis == "is_owner=yes"


def test_nobody_has_a_permission_to_do_what_can_not_be_done():
    assert LedgerEntry._meta.default_permissions == ("view",)


def test_one_may_be_added_by_hand():
    LedgerEntry(at=NOON, kind="lost", process="q", number=1, missing=3).save()

    assert str(LedgerEntry.objects.get()) == "lost, entry 1 of q"


@pytest.mark.parametrize(("batch", "rounds"), [(2, 3), (100, 1)])
def test_retention_removes_what_is_older_in_batches(batch, rounds):
    kept(*(made(minute=minute) for minute in (3, 0, 4, 2, 1, 5)))

    with CaptureQueriesContext(connection) as asked:
        removed = LedgerEntry.objects.prune(NOON + timedelta(minutes=5), batch=batch)

    assert removed == 5
    assert [entry.at for entry in LedgerEntry.objects.all()] == [NOON + timedelta(minutes=5)]
    assert sum(query["sql"].startswith("DELETE") for query in asked) == rounds
    assert LedgerEntry.objects.prune(NOON) == 0


def test_a_text_that_no_column_takes_is_made_one_that_it_does():
    assert clean("a\0b\ud800c") == "a\N{REPLACEMENT CHARACTER}b?c"
    assert cut("x" * 64, 64) == "x" * 64
    assert cut("x" * 65, 64) == "x" * 63 + "…"


@pytest.mark.django_db(transaction=True)
def test_a_migration_is_for_the_database_that_routers_say(settings):
    class Elsewhere:
        def allow_migrate(self, db, app_label, model_name=None, **hints):
            return False if app_label == "livegate_audit" else None

    settings.DATABASE_ROUTERS = [Elsewhere()]
    call_command("migrate", "livegate_audit", "zero", verbosity=0, stdout=StringIO())
    call_command("migrate", "livegate_audit", verbosity=0, stdout=StringIO())

    assert LedgerEntry._meta.db_table in connection.introspection.table_names()
