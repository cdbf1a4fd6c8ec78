"""A roll call may name an object, and the answers then have what became of its changes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("livegate_audit", "0002_register"),
    ]

    operations = [
        migrations.AddField(
            model_name="rollcall",
            name="model",
            field=models.CharField(default="", max_length=201),
        ),
        migrations.AddField(
            model_name="rollcall",
            name="hashid",
            field=models.CharField(default="", max_length=64),
        ),
        migrations.AddField(
            model_name="rollsheet",
            name="changes",
            field=models.JSONField(default=list),
        ),
    ]
