"""The ledger's table, and on PostgreSQL an index of the users in its lists."""

from typing import Any

from django.db import migrations, models

INDEX = "livegate_audit_users"


def index_users(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"CREATE INDEX {INDEX} ON livegate_audit_ledgerentry USING gin (users jsonb_path_ops)")


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="LedgerEntry",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(verbose_name="time")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("opened", "Opened"),
                            ("closed", "Closed"),
                            ("admitted", "Admitted"),
                            ("refused", "Refused"),
                            ("ended", "Ended"),
                            ("shown", "Shown"),
                            ("withheld", "Withheld"),
                            ("taken", "Taken"),
                            ("lost", "Lost"),
                        ],
                        max_length=10,
                    ),
                ),
                ("process", models.CharField(max_length=64)),
                ("number", models.PositiveBigIntegerField()),
                ("users", models.JSONField(default=list)),
                ("sockets", models.JSONField(default=list)),
                ("model", models.CharField(max_length=201)),
                ("key", models.CharField(max_length=64)),
                ("hashid", models.CharField(max_length=64)),
                ("etag", models.CharField(max_length=64, verbose_name="ETag")),
                ("fields", models.JSONField(default=list)),
                ("basis", models.TextField()),
                ("cause", models.CharField(max_length=80)),
                ("of", models.PositiveBigIntegerField(null=True)),
                ("code", models.PositiveSmallIntegerField(null=True)),
                ("missing", models.PositiveBigIntegerField(default=0)),
            ],
            options={
                "verbose_name": "ledger entry",
                "verbose_name_plural": "ledger entries",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["model", "key", "at"], name="livegate_audit_object"),
                    models.Index(fields=["kind", "at"], name="livegate_audit_kind"),
                    models.Index(fields=["at"], name="livegate_audit_at"),
                    models.Index(
                        condition=models.Q(("of__isnull", False)), fields=["process", "of"], name="livegate_audit_of"
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("process", "number"), name="livegate_audit_entry_once")
                ],
            },
        ),
        # With the table it goes, too.
        migrations.RunPython(index_users, migrations.RunPython.noop, hints={"model_name": "ledgerentry"}),
    ]
