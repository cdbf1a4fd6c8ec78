"""The Django app ``livegate``: on start it finds the publications and watches their models."""

from __future__ import annotations

from functools import partial

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules


class LivegateConfig(AppConfig):
    name = "livegate.gateway"
    label = "livegate"
    verbose_name = "livegate"

    def ready(self) -> None:
        from ..permissions.indexes import index_grants
        from . import checks  # noqa: F401  (the checks register themselves)
        from .access import watch_access, watch_followed
        from .changes import watch_published
        from .models import PushModelMixin
        from .publications import watchers

        post_migrate.connect(index_grants, sender=self)
        autodiscover_modules("publications")
        watch_published(gives_own_notice=PushModelMixin)
        watch_access()
        watchers.append(watch_followed)
        watchers.append(partial(watch_published, gives_own_notice=PushModelMixin))
