"""The ledger in Django's admin: to be read, searched and filtered, and reached from objects and users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode

from ..publications import all_publications, relatives
from .ledger import withheld_of
from .lookups import Holds
from .models import LedgerEntry, cut
from .objects import called, named
from .pages import MOST, CappedPaginator
from .people import key_of, keys_named, nameless, names_of
from .switchboard import RegisterAdmin  # noqa: F401  (it registers itself)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    Entries = QuerySet[LedgerEntry]
    ModelAdmin = admin.ModelAdmin[LedgerEntry]
else:
    ModelAdmin = admin.ModelAdmin

# How many viewers of an entry, and fields, a row of the list names.
FEW = 5
NOT_SENT = " (not sent)"
# How many words of a search are looked for.
WORDS = 5
SHOWN = LedgerEntry.Kind.SHOWN.value
LIST = "admin:livegate_audit_ledgerentry_changelist"


class ModelFilter(admin.SimpleListFilter):
    title = "model"
    parameter_name = "label"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(label, label) for label in sorted({publication.label for publication in all_publications()})]

    def queryset(self, request: HttpRequest, queryset: Entries) -> Entries:
        value = self.value()
        return queryset.filter(model=cut(value, 201)) if value else queryset


class ObjectFilter(admin.SimpleListFilter):
    """One instance, named as ``board.Card:17``; seen in the list when it is in use."""

    title = "object"
    parameter_name = "object"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = self.value()
        return [(value, value.replace(":", " "))] if value else []

    def queryset(self, request: HttpRequest, queryset: Entries) -> Entries:
        label, _, key = (self.value() or "").partition(":")
        try:
            return queryset.filter(named(apps.get_model(label)(pk=key)))
        except (LookupError, ValueError, ValidationError):  # what is on record may be of a model that is gone
            return queryset.filter(model=cut(label, 201), key=cut(key, 64))


class UserFilter(admin.SimpleListFilter):
    """One user, named by primary key; seen in the list when it is in use."""

    title = "user"
    parameter_name = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        value = self.value()
        return [] if value is None else [(value, names_of([value]).get(value) or nameless(value))]

    def queryset(self, request: HttpRequest, queryset: Entries) -> Entries:
        value = self.value()
        return queryset if value is None else queryset.filter(Holds("users", value))


class LedgerList(ChangeList):
    """A page of the ledger, and what is looked up for all of its rows at once."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        entries: list[LedgerEntry] = list(self.result_list)
        describe(entries, few=FEW)
        self.result_list = entries
        self.most = MOST
        self.full_result_count = self.result_count  # of which nothing is said then
        self.is_older = "at__lte" in self.params
        self.newest_url = self.get_query_string(remove=["at__lte"])
        self.older_url = ""
        if self.paginator.has_more:
            last = self.queryset.values_list("at", flat=True)[MOST]
            self.older_url = self.get_query_string({"at__lte": last.isoformat()})


def describe(entries: Iterable[Any], few: int | None = None) -> None:
    """Note on entries by which names their viewers go, of the first few at least, and who of them was not shown it."""
    entries = list(entries)
    names = names_of({key for entry in entries for key in entry.users[:few]})
    withheld = withheld_of(entries)
    for entry in entries:
        entry.viewers = [
            (names.get(key) or nameless(key)) + (NOT_SENT if (entry.process, entry.number, socket) in withheld else "")
            for key, socket in list(zip(entry.users, entry.sockets, strict=True))[:few]
        ]


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ModelAdmin):
    """Entries, the newest first. Nobody adds, changes or deletes one here; who may view them is Django's to say."""

    list_display = ("when", "kind", "about", "viewers", "shown_fields", "why", "basis")
    list_display_links = ("when",)
    list_filter = (ObjectFilter, UserFilter, "kind", ModelFilter, "at")
    # What is not named here by itself is found by get_search_results.
    search_fields = ("key",)
    search_help_text = (
        "The id or key of an object, or the name or key of a user; several words are looked for together."
    )
    ordering = ("-at", "-pk")
    sortable_by = ()
    list_per_page = 50
    list_max_show_all = 0
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    change_list_template = "livegate_audit/ledger.html"
    change_form_template = "livegate_audit/entry.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: LedgerEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LedgerEntry | None = None) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return LedgerList

    def get_search_results(self, request: HttpRequest, queryset: Entries, search_term: str) -> tuple[Entries, bool]:
        for one in search_term.split()[:WORDS]:
            found = Q()
            word = cut(one, 64)
            for about in called(word):
                found |= about
            for key in {word, *keys_named(word)}:
                found |= Q(Holds("users", key))
            queryset = queryset.filter(found)
        return queryset, False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> LedgerEntry | None:
        entry = super().get_object(request, object_id, from_field)
        if entry is not None:
            describe([entry])
        return entry

    def get_fields(self, request: HttpRequest, obj: LedgerEntry | None = None) -> Any:
        """Those that such an entry has."""
        has: dict[str, Any] = {
            "when": True,
            "kind": True,
            "about": obj and obj.model,
            "key": obj and obj.key,
            "viewers": obj and obj.users,
            "shown_fields": obj and obj.fields,
            "basis": obj and obj.basis,
            "why": obj and self.why(obj),
            "etag": obj and obj.etag,
            "process": True,
            "number": True,
            "of": obj and obj.of is not None,
        }
        return [name for name, value in has.items() if value]

    @admin.display(description="time", ordering="at")
    def when(self, entry: LedgerEntry) -> str:
        return f"{timezone.localtime(entry.at):%Y-%m-%d %H:%M:%S}"

    @admin.display(description="object")
    def about(self, entry: LedgerEntry) -> str:
        """The model and the id, with a link to the object's own page, if it has one here."""
        url = page_of(entry, self.admin_site.name)
        shown = format_html('<a href="{}">{}</a>', url, entry.hashid) if url else entry.hashid
        return format_html("{} {}", entry.model, shown) if entry.model else ""

    @admin.display(description="viewers")
    def viewers(self, entry: Any) -> str:
        return listed(entry.viewers, len(entry.users) - len(entry.viewers))

    @admin.display(description="fields")
    def shown_fields(self, entry: LedgerEntry) -> str:
        return listed(entry.fields)

    @admin.display(description="cause")
    def why(self, entry: LedgerEntry) -> str:
        """Also what a socket was closed with, and how many entries were lost."""
        code = "" if entry.code is None else f"code {entry.code}"
        return entry.cause or code or (f"{entry.missing:,} not kept" if entry.missing else "")


def page_of(entry: LedgerEntry, site: str) -> str:
    """Where the object of an entry is changed in the admin; '' where that is nowhere."""
    try:
        model = apps.get_model(entry.model)._meta
        name = f"admin:{model.app_label}_{model.model_name}_change"
        return reverse(name, args=[quote(entry.key)], current_app=site)
    except (LookupError, ValueError, NoReverseMatch):
        return ""


def listed(words: Iterable[str], more: int = 0) -> SafeString:
    """Words with commas between them, and how many there are besides."""
    shown = format_html_join(", ", "{}", ((word,) for word in words))
    return format_html("{} and {} more", shown, more) if more else shown


class LedgerLinksMixin:
    """For a ``ModelAdmin``, before it: the page of an object has a button "Who saw it", that of a user one
    "What was shown to them". Both lead to the ledger, and are there for whoever may view that."""

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        response = super().render_change_form(request, context, *args, **kwargs)  # type: ignore[misc]
        buttons = ledger_buttons(request, kwargs.get("obj"), self.admin_site)  # type: ignore[attr-defined]
        if buttons and isinstance(response, TemplateResponse):
            # Around whatever page it is, which may be another library's.
            response.context_data |= {  # type: ignore[operator]
                "page": response.resolve_template(response.template_name),
                "ledger_buttons": buttons,
            }
            response.template_name = "livegate_audit/object.html"
        return response


def ledger_buttons(request: HttpRequest, instance: Any, site: admin.AdminSite) -> list[tuple[str, str]]:
    """What they say and where they lead."""
    if instance is None or not site.is_registered(LedgerEntry):
        return []
    if not site.get_model_admin(LedgerEntry).has_view_permission(request):
        return []
    questions = []
    if any(relatives(type(instance))):
        questions.append(("Who saw it", {"object": f"{instance._meta.label}:{instance.pk}"}))
    if isinstance(instance, get_user_model()):
        questions.append(("What was shown to them", {"user": key_of(instance)}))
    place = reverse(LIST, current_app=site.name)
    return [(text, f"{place}?{urlencode({**about, 'kind__exact': SHOWN})}") for text, about in questions]
