"""The tables by which the register is asked."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("livegate_audit", "0001_ledger"),
    ]

    operations = [
        migrations.CreateModel(
            name="RollCall",
            fields=[
                ("token", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="RunningHub",
            fields=[
                ("identity", models.CharField(max_length=16, primary_key=True, serialize=False)),
                ("host", models.CharField(max_length=255)),
                ("pid", models.PositiveBigIntegerField()),
                ("since", models.DateTimeField()),
                ("seen", models.DateTimeField()),
            ],
            options={
                "verbose_name": "process with sockets",
                "verbose_name_plural": "register: who is subscribed now",
                "permissions": [("close_sockets", "Can close sockets")],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="RollSheet",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("process", models.CharField(max_length=16)),
                ("number", models.PositiveIntegerField()),
                ("is_last", models.BooleanField()),
                ("sockets", models.JSONField()),
                (
                    "roll",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="sheets", to="livegate_audit.rollcall"
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("roll", "process", "number"), name="livegate_audit_sheet_once")
                ],
            },
        ),
    ]
