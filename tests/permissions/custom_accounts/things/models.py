"""Objects with integers and UUIDs for keys, whose grants lie in guardian's tables, or in tables of their own."""

import uuid

from django.conf import settings
from django.db import models
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from livegate.gateway.models import PushModelMixin


class Page(PushModelMixin, models.Model):
    pass


class Document(PushModelMixin, models.Model):
    uid = models.UUIDField(primary_key=True, default=uuid.uuid4)


class OwnPage(PushModelMixin, models.Model):
    pass


class OwnPageOfUser(UserObjectPermissionBase):
    content_object = models.ForeignKey(OwnPage, on_delete=models.CASCADE)


class OwnPageOfGroup(GroupObjectPermissionBase):
    content_object = models.ForeignKey(OwnPage, on_delete=models.CASCADE)
    group = models.ForeignKey(settings.GROUP_MODEL, on_delete=models.CASCADE)


class OwnDocument(PushModelMixin, models.Model):
    uid = models.UUIDField(primary_key=True, default=uuid.uuid4)


class OwnDocumentOfUser(UserObjectPermissionBase):
    content_object = models.ForeignKey(OwnDocument, on_delete=models.CASCADE)


class OwnDocumentOfGroup(GroupObjectPermissionBase):
    content_object = models.ForeignKey(OwnDocument, on_delete=models.CASCADE)
    group = models.ForeignKey(settings.GROUP_MODEL, on_delete=models.CASCADE)
