"""Models of every shape that a change or a key can have."""

import uuid

from django.conf import settings
from django.db import models
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase
from model_utils import FieldTracker

from livegate.gateway.models import PushModelMixin


class Page(PushModelMixin, models.Model):
    """Names no tracker: every save counts."""

    text = models.CharField(max_length=80, default="")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True)
    editors = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="edited_pages")


class Tracked(PushModelMixin, models.Model):
    """Tracks some of its fields, a relation among them by its name."""

    title = models.CharField(max_length=80, default="")
    count = models.IntegerField(default=0)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True)
    unwatched = models.CharField(max_length=80, default="")

    tracker = FieldTracker(fields=["title", "count", "owner"])


class SpecialTracked(Tracked):
    """A child in multi-table inheritance."""

    extra = models.CharField(max_length=80, default="")


class Foreign(models.Model):
    """Somebody else's model: knows nothing of livegate."""

    name = models.CharField(max_length=80, default="")
    count = models.IntegerField(default=0)
    unwatched = models.CharField(max_length=80, default="")


class ForeignProxy(Foreign):
    class Meta:
        proxy = True


class ForeignChild(Foreign):
    toy = models.CharField(max_length=80, default="")


class Unwatched(models.Model):
    """Published without a word about what to watch: every save counts."""

    name = models.CharField(max_length=80, default="")


class Document(PushModelMixin, models.Model):
    """Has a UUID for a key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True)
    text = models.CharField(max_length=80, default="")


class Note(models.Model):
    """Belongs to a document, and is shown with it."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="notes")
    text = models.CharField(max_length=80, default="")
    secret = models.CharField(max_length=80, default="")

    class Meta:
        ordering = ["pk"]


class Badge(models.Model):
    """Has a relation for a key."""

    document = models.OneToOneField(Document, on_delete=models.CASCADE, primary_key=True)


class Slug(models.Model):
    """Has a text for a key, which no hashid stands for."""

    slug = models.SlugField(primary_key=True)


class DirectlyGranted(models.Model):
    """Has permission tables of its own, with a foreign key, rather than guardian's generic ones."""


class DirectUserPermission(UserObjectPermissionBase):
    content_object = models.ForeignKey(DirectlyGranted, on_delete=models.CASCADE)


class DirectGroupPermission(GroupObjectPermissionBase):
    content_object = models.ForeignKey(DirectlyGranted, on_delete=models.CASCADE)


class Unpublished(PushModelMixin, models.Model):
    name = models.CharField(max_length=80, default="")
