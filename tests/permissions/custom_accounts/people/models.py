"""Users with a UUID for a key, in groups of a model of their own, which guardian is told about in the settings."""

import uuid

from django.contrib.auth.models import AbstractUser, Group
from django.db import models
from guardian.mixins import GuardianGroupMixin
from guardian.models import GroupObjectPermissionAbstract


class Team(Group, GuardianGroupMixin):
    pass


class Person(AbstractUser):
    uid = models.UUIDField(primary_key=True, default=uuid.uuid4)
    groups = models.ManyToManyField(Team)


class TeamPermission(GroupObjectPermissionAbstract):
    group = models.ForeignKey(Team, on_delete=models.CASCADE)
