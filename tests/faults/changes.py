"""The changes that are made at random: of cards, and of who may see what of them.

Each takes a card, and gives the keys of the cards that somebody may have come to see by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from board.demo import CARD_PK
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from guardian.shortcuts import assign_perm, get_perms, remove_perm

if TYPE_CHECKING:
    from board.models import Card

# Those that are changed at random.
CARDS = [CARD_PK + number for number in range(1, 4)]


def nothing(card: Card) -> list[int]:
    return []


def toggle_public(card: Card) -> list[int]:
    card.public = not card.public
    card.save()
    return [card.pk]


def change_owner(card: Card) -> list[int]:
    card.owner = person("cleo" if card.owner.username == "amira" else "amira")
    card.save()
    return [card.pk]


def toggle_right_of_a_person(card: Card) -> list[int]:
    return toggle("view_card", person("cleo"), card)


def toggle_part_for_a_person(card: Card) -> list[int]:
    return toggle("view_salary", person("cleo"), card)


def toggle_right_of_a_group(card: Card) -> list[int]:
    return toggle("view_card", payroll(), card)


def toggle(permission: str, holder: Any, card: Card) -> list[int]:
    (remove_perm if permission in get_perms(holder, card) else assign_perm)(permission, holder, card)
    return [card.pk]


def toggle_member(card: Card) -> list[int]:
    groups = person("ben").groups
    (groups.remove if groups.exists() else groups.add)(payroll())
    return CARDS


def delete(card: Card) -> list[int]:
    card.delete()
    return []


CHANGES = [
    nothing,
    toggle_public,
    change_owner,
    toggle_right_of_a_person,
    toggle_part_for_a_person,
    toggle_right_of_a_group,
    toggle_member,
    delete,
]


def person(name: str) -> Any:
    return get_user_model().objects.get(username=name) if name else AnonymousUser()


def payroll() -> Group:
    return Group.objects.get()
