"""What Django calls after a test that commits, instead of its own flush: back to the state after the migrations."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import flush

from lab.states import restore


class Command(flush.Command):
    def handle(self, **options: Any) -> None:
        restore("migrated")
