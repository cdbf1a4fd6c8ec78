"""Fills an empty database: ``python -m bench.population VIEWERS CARDS``. Prints the hashids of the cards."""

from __future__ import annotations

import json
import sys
from decimal import Decimal

import django

COMMON = 100  # cards that everyone may see, for sockets with several subscriptions


def populate(viewers: int, cards: int) -> list[str]:
    """Make the viewers; the first card, which all of them see; others with three viewers each; and the common ones.
    Gives the hashids of all cards in that order."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connection, transaction

    from .models import Card
    from .rights import SUPERUSER, username, viewers_of

    call_command("migrate", verbosity=0)
    with transaction.atomic():
        model = get_user_model()
        made = (model(username=username(number), is_superuser=number == SUPERUSER) for number in range(viewers))
        users = model.objects.bulk_create(made)
        owners = [users[0], *(users[viewers_of(number)[0]] for number in range(1, cards + 1)), *([None] * COMMON)]
        common = {"title": "Platform engineer", "summary": "Keeps it running. " * 5, "price": Decimal("19.90")}
        made_cards = Card.objects.bulk_create(Card(owner=owner, **common) for owner in owners)
        grant(users, made_cards, cards)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")  # as it does by itself within a minute
    return [card.hashid for card in made_cards]


def grant(users: list, cards: list, spread: int) -> None:
    """Give everyone the rights that ``rights`` says, by guardian: directly, through groups, or both."""
    from django.contrib.auth.models import Group, Permission
    from django.contrib.contenttypes.models import ContentType
    from guardian.models import GroupObjectPermission, UserObjectPermission

    from . import rights
    from .models import Card

    kind = ContentType.objects.get_for_model(Card)
    permissions = {one.codename: one for one in Permission.objects.filter(content_type=kind)}
    names = ["everyone", "viewers", *(f"may see {name}" for name in (*rights.GUARDED, *rights.SECRETS))]
    names += [f"team {number}" for number in range(rights.TEAMS)]
    groups = {name: Group.objects.create(name=name) for name in names}
    members: list[tuple[object, object]] = []
    direct: list[UserObjectPermission] = []
    through: list[GroupObjectPermission] = []

    def to_user(user: object, codename: str, card: Card) -> None:
        row = UserObjectPermission(
            user=user, permission=permissions[codename], content_type=kind, object_pk=str(card.pk)
        )
        direct.append(row)

    def to_group(name: str, codename: str, card: Card) -> None:
        through.append(
            GroupObjectPermission(
                group=groups[name], permission=permissions[codename], content_type=kind, object_pk=str(card.pk)
            )
        )

    first = cards[0]
    to_group("viewers", "view_card", first)
    for name in (*rights.GUARDED, *rights.SECRETS):
        to_group(f"may see {name}", f"view_{name}", first)
    for number, user in enumerate(users):
        members += [(user, "everyone"), (user, f"team {number % rights.TEAMS}")]
        way = rights.way(number)
        if way == "superuser":
            continue
        if way == "direct":
            to_user(user, "view_card", first)
        elif way in ("group", "mixed"):
            members.append((user, "viewers"))
        granted = [*rights.GUARDED[: rights.level(number)], *rights.secrets_seen(number, 0)]
        if way == "owner":  # sees the guarded fields for being the owner
            granted = []
        for name in granted:
            if way == "group":
                members.append((user, f"may see {name}"))
            else:
                to_user(user, f"view_{name}", first)
    for index, card in enumerate(cards[1 : spread + 1], 1):
        _, second, third = rights.viewers_of(index)
        to_user(users[second], "view_card", card)
        to_user(users[second], f"view_{rights.GUARDED[0]}", card)
        to_group(f"team {third % rights.TEAMS}", "view_card", card)
    for card in cards[spread + 1 :]:
        to_group("everyone", "view_card", card)

    membership = type(users[0]).groups.through
    membership.objects.bulk_create(membership(user=user, group=groups[name]) for user, name in members)
    UserObjectPermission.objects.bulk_create(direct, batch_size=5_000)
    GroupObjectPermission.objects.bulk_create(through, batch_size=5_000)


if __name__ == "__main__":
    django.setup()
    print(json.dumps(populate(*map(int, sys.argv[1:]))))
