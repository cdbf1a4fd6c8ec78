"""The switchboard: the register in Django's admin, to be looked at, and to close sockets by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from .choices import chosen
from .listings import age, rows_of
from .models import RunningHub
from .register import close, roll_call

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    ModelAdmin = admin.ModelAdmin[RunningHub]
else:
    ModelAdmin = admin.ModelAdmin

# How many rows the page has. Whoever looks for one of more than that narrows it.
ROWS = 300
# What it is narrowed by: the name in the URL, and how that is written.
CHOICES = {
    "user": "a name, or (anonymous)",
    "object": "board.Card:7sd8f",
    "tenant": "board.Organization:5",
    "socket": "process:number",
}


@admin.register(RunningHub)
class RegisterAdmin(ModelAdmin):
    """The register instead of a list of rows: who may view ``RunningHub`` sees who is there when the page is made, and
    who has its permission ``close_sockets`` closes sockets."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: RunningHub | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: RunningHub | None = None) -> bool:
        return False

    def has_close_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("livegate_audit.close_sockets")

    def change_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponseRedirect(self.place)

    def history_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        return HttpResponseRedirect(self.place)

    @property
    def place(self) -> str:
        return reverse("admin:livegate_audit_runninghub_changelist", current_app=self.admin_site.name)

    # In a transaction nobody would see that something is asked.
    @transaction.non_atomic_requests
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self.close_ticked(request)
        texts = {name: request.GET.get(name, "").strip() for name in CHOICES}
        register, wrong = None, ""
        try:
            about = chosen(**{"instance" if name == "object" else name: text for name, text in texts.items()})
            register = roll_call().of(**about)
        except (LookupError, ValueError) as error:
            wrong = str(error)
        rows = rows_of(register) if register else []
        context = {
            **self.admin_site.each_context(request),
            "title": "Who is subscribed now",
            "opts": self.opts,
            "choices": [(name, hint, texts[name]) for name, hint in CHOICES.items()],
            "is_narrowed": any(texts.values()),
            "wrong": wrong,
            "register": register,
            "rows": [(row, age(row.since), age(row.verified), age(row.opened)) for row in rows[:ROWS]],
            "more": max(len(rows) - ROWS, 0),
            "may_close": self.has_close_permission(request),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "livegate_audit/register.html", context)

    def close_ticked(self, request: HttpRequest) -> HttpResponse:
        """Close the sockets that were ticked, as far as they are still there."""
        if not self.has_close_permission(request):
            raise PermissionDenied
        ticked = set(request.POST.getlist("close"))
        register = roll_call()
        number = close(replace(register, sockets=tuple(one for one in register.sockets if one.name in ticked)))
        self.message_user(request, f"Sockets that are being closed: {number}.", messages.SUCCESS)
        return HttpResponseRedirect(f"{self.place}?{request.GET.urlencode()}")
