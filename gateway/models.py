"""The model mixin: a model that says by itself when it changed."""

from __future__ import annotations

from typing import Any

from django.db import models

from ..serializers.hashids import encode
from .changes import saving


class PushModelMixin(models.Model):
    """Gives notice after the commit of every create, delete, and change that counts.

    Where the concrete model names a model-utils ``FieldTracker``, a save counts when a tracked field changed;
    without a tracker every save counts. What no save tells (``queryset.update()``, ``bulk_create``, raw SQL, a
    many-to-many relation) is told by ``notify``.
    """

    class Meta:
        abstract = True

    @property
    def hashid(self) -> str:
        """The id of this instance on the wire and in URLs."""
        return encode(type(self), self.pk)

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        # Not in save(): a tracker forgets what changed when save_base returns, also when it failed.
        with saving(self, update_fields=kwargs.get("update_fields")):
            super().save_base(*args, **kwargs)
