"""``manage.py livegate_explain``: what a user sees of an object and why, at a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from .....serializers.hashids import InvalidHashid, decode
from ...explanation import explain

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    help = "Explain what a user sees of an object, what not, and why; and why nothing may have arrived."

    def add_arguments(self, parser: CommandParser) -> None:
        whom = parser.add_mutually_exclusive_group(required=True)
        whom.add_argument("--user", metavar="NAME", help="whose view")
        whom.add_argument("--anonymous", action="store_true", help="that of one who is not logged in")
        parser.add_argument("model", help="the model's label, as board.Card")
        parser.add_argument("hashid", help="the object's id, as clients name it")
        parser.add_argument("--json", action="store_true", help="as a JSON object")
        parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="seconds to wait; default: 5")

    def handle(self, *args: Any, model: str, hashid: str, timeout: float, **options: Any) -> None:
        user = None if options["anonymous"] else user_named(options["user"])
        check(model, hashid)
        told = explain(user, model, hashid, timeout=timeout)
        if options["json"]:
            text = json.dumps(told.as_dict(), indent=2)
        else:
            text = told.as_text(is_colored=self.stdout.isatty() and not options["no_color"])
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"
        self.stdout.write(text.encode(encoding, "replace").decode(encoding))


def user_named(name: str) -> Any:
    users: Any = get_user_model()
    try:
        return users._default_manager.get_by_natural_key(name)
    except users.DoesNotExist as error:
        raise CommandError(f"There is no user {name}.") from error


def check(label: str, hashid: str) -> None:
    """Raise CommandError for what was misspelt. An object that is gone is none: that nothing is there explains it."""
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise CommandError(f"There is no model {label}. A label is written as board.Card.") from error
    if model._meta.label != label:
        raise CommandError(f"There is no model {label}; there is {model._meta.label}.")
    try:
        decode(model, hashid)
    except (InvalidHashid, ImproperlyConfigured) as error:
        raise CommandError(f"{hashid} is not the id of any {label}.") from error
