"""The Django app ``livegate.gateway.audit``."""

from __future__ import annotations

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "livegate.gateway.audit"
    label = "livegate_audit"
    verbose_name = "livegate: audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from ..rolls import attendants
        from .attendance import Attendance

        attendants.append(Attendance)
