"""Users with an integer for a key, in Django's groups."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class Clerk(AbstractUser):
    number = models.AutoField(primary_key=True)
