"""The one model of the benchmark: a card with plain fields, and with fields that not everybody may see."""

from django.conf import settings
from django.db import models

from livegate.gateway.models import PushModelMixin

from .rights import GUARDED, SECRETS, value


class Card(PushModelMixin, models.Model):
    """Every save of it writes another ``version``, which everyone sees, and guarded values that tell the version."""

    version = models.IntegerField(default=0)
    title = models.CharField(max_length=80)
    summary = models.TextField()
    status = models.CharField(max_length=20, choices=[("open", "Open"), ("closed", "Closed")], default="open")
    priority = models.SmallIntegerField(default=3)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    weight = models.FloatField(default=1.5)
    public = models.BooleanField(default=False)
    due = models.DateField(null=True)
    created = models.DateTimeField(auto_now_add=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True)
    salary = models.IntegerField(default=0)
    notes = models.TextField(default="")

    class Meta:
        permissions = [(f"view_{name}", f"Can see {name}") for name in (*GUARDED, *SECRETS)]

    def change(self) -> None:
        """Make the next version of it, unsaved."""
        self.version += 1
        for name in (*GUARDED, *SECRETS):
            setattr(self, name, value(name, self.version))


for name in SECRETS:
    Card.add_to_class(name, models.IntegerField(default=0))
