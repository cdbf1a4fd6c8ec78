from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from guardian.admin import GuardedModelAdmin

from livegate.gateway.audit.admin import LedgerLinksMixin

from .models import Board, Card, Membership, Organization

User = get_user_model()

admin.site.register([Organization, Membership, Board])
admin.site.unregister(User)


@admin.register(User)
class PersonAdmin(LedgerLinksMixin, UserAdmin):
    """Users, with the way to what was shown to them."""


@admin.register(Card)
class CardAdmin(LedgerLinksMixin, GuardedModelAdmin):
    """Cards, with guardian's page of object permissions, and the way to who saw them."""

    list_display = ["title", "board", "owner", "status", "public"]
    list_filter = ["status", "public", "board__organization"]
    search_fields = ["title"]
