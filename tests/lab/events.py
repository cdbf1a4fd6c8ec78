"""Events: what may happen to the things that are watched and to the rights of people.

Each is a function that makes one commit, and gives the pairs of a person and a thing of which rights were told to have
changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from board.models import Board, Card, Membership, Organization
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from guardian.shortcuts import assign_perm, remove_perm
from guardian.utils import get_anonymous_user

from livegate.gateway.access import access_changed
from livegate.gateway.notifications import notify

from .models import Document, Note
from .oracle import PEOPLE, THINGS, find

if TYPE_CHECKING:
    from .history import History

User = get_user_model()
Pairs = set[tuple[str, str]]

PERMISSIONS = {
    "card": ["board.view_card", "board.view_salary"],
    "offer": ["board.view_card", "board.view_salary"],
    "dossier": ["lab.view_document", "lab.change_document"],
}
FIELDS = {
    "card": ["title", "notes", "salary"],
    "offer": ["title", "notes", "salary"],
    "dossier": ["text", "note", "secret"],
}
GROUP = "Payroll"


def user_of(person: str) -> Any:
    """The user who stands for a person: for nobody, the one whom guardian keeps for that."""
    return get_anonymous_user() if person == "nobody" else User.objects.get(username=person)


def about(*people: str, things: Any = THINGS) -> Pairs:
    return {(person, thing) for person in people for thing in things}


def at_home(person: str) -> Pairs:
    """What is told of somebody; of nobody, it is told to all."""
    return about(*(PEOPLE if person == "nobody" else [person]))


@transaction.atomic
def begin(history: History) -> None:
    """Beside the demonstration: a card of the other organization, and a dossier."""
    dev = user_of("dev")
    for user in User.objects.all():
        history.note(user.email)
    board = Board.objects.create(name="Hiring", organization=Organization.objects.get(name="Southgate"))
    Card.objects.create(pk=THINGS["offer"][1], board=board, owner=dev, **values(history, "title", "notes", "salary"))
    create(history, "dossier")
    write(history, "card", "title", "notes", "salary")
    for permission in PERMISSIONS["dossier"]:
        assign_perm(permission, user_of("cleo"), find("dossier"))
        assign_perm(permission, Group.objects.get(name=GROUP), find("dossier"))


def values(history: History, *fields: str) -> dict[str, Any]:
    return {field: history.mark(field) for field in fields}


# Content


@transaction.atomic
def write(history: History, thing: str, *fields: str) -> Pairs:
    """Save these fields; what a note holds is told by ``notify``."""
    instance = find(thing)
    if instance is None:
        return set()
    of_notes = {"text" if field == "note" else field: history.mark(field) for field in fields if field in NOTE}
    for field in fields:
        if field not in NOTE:
            setattr(instance, field, history.mark(field))
    if of_notes:
        Note.objects.filter(document=instance).update(**of_notes)
        notify(instance)
    if set(fields) - NOTE:
        instance.save()
    return set()


NOTE = {"note", "secret"}


@transaction.atomic
def write_in_bulk(history: History) -> Pairs:
    """Update everything past all signals, and notify."""
    for thing, (model, key, _) in THINGS.items():
        fields = ["text"] if thing == "dossier" else FIELDS[thing]
        model.objects.filter(pk=key).update(**values(history, *fields))
    notify(*filter(None, map(find, THINGS)))
    return set()


@transaction.atomic
def mail(history: History, person: str) -> Pairs:
    """Another address for somebody."""
    if person == "nobody":
        return set()
    user = user_of(person)
    user.email = history.mark("email")
    user.save()
    return about(person)


@transaction.atomic
def remove(history: History, thing: str) -> Pairs:
    """Delete it, or make it again with the same key."""
    instance = find(thing)
    if instance is None:
        create(history, thing)
    else:
        instance.delete()
    return set()


def create(history: History, thing: str) -> None:
    key = THINGS[thing][1]
    if thing == "dossier":
        dossier = Document.objects.create(pk=key, owner=user_of("amira"), text=history.mark("text"))
        Note.objects.create(document=dossier, text=history.mark("note"), secret=history.mark("secret"))
    else:
        owner, board = user_of("amira"), Board.objects.order_by("pk").first()
        Card.objects.create(pk=key, board=board, owner=owner, **values(history, *FIELDS[thing]))


@transaction.atomic
def hand_over(history: History, thing: str, person: str) -> Pairs:
    """Another owner."""
    instance = find(thing)
    if instance is not None and person != "nobody":
        instance.owner = user_of(person)
        instance.save()
    return set()


@transaction.atomic
def move(history: History, thing: str) -> Pairs:
    """To another organization."""
    instance = find(thing)
    if isinstance(instance, Card):
        instance.board = Board.objects.exclude(pk=instance.board_id).first()
        instance.save()
    return set()


@transaction.atomic
def disclose(history: History, thing: str) -> Pairs:
    """Make a card public, or no longer."""
    instance = find(thing)
    if isinstance(instance, Card):
        instance.public = not instance.public
        instance.save()
    return set()


# Rights. What somebody has is taken away, what they don't have is given.


@transaction.atomic
def grant(history: History, thing: str, which: int, person: str) -> Pairs:
    instance, permission, user = find(thing), PERMISSIONS[thing][which], user_of(person)
    if instance is None:
        return set()
    rows = user.userobjectpermission_set.filter(
        object_pk=str(instance.pk), permission__codename=permission.partition(".")[2]
    )
    (remove_perm if rows.exists() else assign_perm)(permission, user, instance)
    return about(person, things=[thing])


@transaction.atomic
def grant_group(history: History, thing: str, which: int) -> Pairs:
    instance, permission, group = find(thing), PERMISSIONS[thing][which], Group.objects.get(name=GROUP)
    if instance is None:
        return set()
    rows = group.groupobjectpermission_set.filter(
        object_pk=str(instance.pk), permission__codename=permission.partition(".")[2]
    )
    (remove_perm if rows.exists() else assign_perm)(permission, group, instance)
    return about(*PEOPLE, things=[thing])


@transaction.atomic
def regroup(history: History, person: str) -> Pairs:
    toggle(user_of(person).groups, Group.objects.get(name=GROUP))
    return at_home(person)


@transaction.atomic
def allow(history: History, person: str) -> Pairs:
    """The permission to see all notes."""
    toggle(user_of(person).user_permissions, Permission.objects.get(codename="view_note"))
    return at_home(person)


@transaction.atomic
def allow_group(history: History) -> Pairs:
    toggle(Group.objects.get(name=GROUP).permissions, Permission.objects.get(codename="view_note"))
    return about(*PEOPLE)


def toggle(manager: Any, one: Any) -> None:
    (manager.remove if manager.filter(pk=one.pk).exists() else manager.add)(one)


@transaction.atomic
def employ(history: History, person: str, organization: str) -> Pairs:
    """Let somebody be of an organization, or no longer; there is no signal."""
    if person == "nobody":
        return set()
    user = user_of(person)
    membership, is_new = Membership.objects.get_or_create(
        user=user, organization=Organization.objects.get(name=organization)
    )
    if not is_new:
        membership.delete()
    access_changed(user=user)
    return about(person)


@transaction.atomic
def activate(history: History, person: str) -> Pairs:
    """Deactivate somebody, or have them back."""
    if person == "nobody":
        return set()
    user = user_of(person)
    user.is_active = not user.is_active
    user.save()
    return about(person)


@transaction.atomic
def promote(history: History, person: str) -> Pairs:
    """Make somebody a superuser, or no longer."""
    if person == "nobody":
        return set()
    user = user_of(person)
    user.is_superuser = not user.is_superuser
    user.save()
    return about(person)


@transaction.atomic
def strip(history: History, person: str) -> Pairs:
    """Take away every right that is not by ownership."""
    user = user_of(person)
    user.is_superuser = False
    user.save()
    for row in user.userobjectpermission_set.all():
        row.delete()
    user.groups.clear()
    user.user_permissions.clear()
    user.memberships.all().delete()
    access_changed(user=user)
    return at_home(person)


@transaction.atomic
def equip(history: History, person: str) -> Pairs:
    """Give every right."""
    user = user_of(person)
    for thing, permissions in PERMISSIONS.items():
        if instance := find(thing):
            for permission in permissions:
                assign_perm(permission, user, instance)
    user.user_permissions.add(Permission.objects.get(codename="view_note"))
    if person != "nobody":
        for organization in Organization.objects.all():
            Membership.objects.get_or_create(user=user, organization=organization)
    access_changed(user=user)
    return at_home(person)
