"""Organizations, their members and boards, and the cards on them."""

from django.conf import settings
from django.db import models
from model_utils import FieldTracker

from livegate.gateway.models import PushModelMixin


class Organization(models.Model):
    """A tenant: what is one organization's is nobody else's."""

    name = models.CharField(max_length=80, unique=True)

    def __str__(self):
        return self.name


class Membership(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "organization"], name="member_once")]

    def __str__(self):
        return f"{self.user} in {self.organization}"


class Board(models.Model):
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="boards")
    name = models.CharField(max_length=80)

    def __str__(self):
        return self.name


class Card(PushModelMixin, models.Model):
    """A position to fill: what the world may know of it, what the team may, and what only a few may."""

    class Status(models.TextChoices):
        DRAFT = "draft", "Draft"
        OPEN = "open", "Open"
        FILLED = "filled", "Filled"

    board = models.ForeignKey(Board, on_delete=models.CASCADE, related_name="cards")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="cards")
    title = models.CharField(max_length=80)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    public = models.BooleanField(default=False, help_text="Everyone may see its title and status.")
    notes = models.TextField(blank=True)
    salary = models.PositiveIntegerField(default=0)
    viewed = models.PositiveIntegerField(default=0, help_text="Not tracked, so not pushed.")

    tracker = FieldTracker(fields=["board_id", "owner_id", "title", "status", "public", "notes", "salary"])

    class Meta:
        permissions = [("view_salary", "Can see the salary")]

    def __str__(self):
        return self.title
