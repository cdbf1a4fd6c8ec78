from django.contrib import admin
from guardian.admin import GuardedModelAdmin

from .models import Board, Card, Membership, Organization

admin.site.register([Organization, Membership, Board])


@admin.register(Card)
class CardAdmin(GuardedModelAdmin):
    """Cards, with guardian's page of object permissions."""

    list_display = ["title", "board", "owner", "status", "public"]
    list_filter = ["status", "public", "board__organization"]
    search_fields = ["title"]
