"""The oracle: what a GET answers a person, and which values they have a right to; livegate is not asked.

The rights are told twice, here and in the permissions of the application: here in plain Python, by Django's and
guardian's own ``has_perm`` on users that were read anew.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from board.demo import CARD_PK
from board.models import Board, Card, Membership
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from guardian.models import GroupObjectPermission, UserObjectPermission
from guardian.utils import get_anonymous_user
from rest_framework.test import APIClient

from livegate.serializers.hashids import encode

from .models import Document, Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

User = get_user_model()

PEOPLE = ["amira", "ben", "cleo", "dev", "admin", "nobody"]
# What is watched: two cards, of two organizations, and a dossier.
THINGS = {
    "card": (Card, CARD_PK, "cards"),
    "offer": (Card, CARD_PK + 1, "cards"),
    "dossier": (Document, UUID(int=1), "dossiers"),
}
HASHIDS = {thing: encode(model, key) for thing, (model, key, _) in THINGS.items()}
NAMES = {(model._meta.label, HASHIDS[thing]): thing for thing, (model, _, _) in THINGS.items()}
# The view of who has nothing to see.
NOTHING = "nothing to see"


def find(thing: str) -> Any:
    model, key, _ = THINGS[thing]
    return model._base_manager.filter(pk=key).first()


def fresh(people: Iterable[str]) -> dict[str, Any]:
    """These people's users, as they are now."""
    users = User.objects.in_bulk([person for person in people if person != "nobody"], field_name="username")
    return {person: users.get(person) or AnonymousUser() for person in people}


def is_there(user: Any) -> bool:
    """Whether it is nobody, or somebody who can log in."""
    return user.pk is None or user.is_active


def causes() -> Callable[[str, str], Any]:
    """All that the view of a person of a thing may depend on, as it is now: a function of both."""
    users = [*User.objects.order_by("pk").values_list("pk", "username", "email")]
    keys = {username: key for key, username, _ in users} | {"nobody": get_anonymous_user().pk}
    of_all = (
        *(tuple(users), tuple(Board.objects.values_list("pk", "organization"))),
        frozenset(Group.permissions.through.objects.values_list("group", "permission")),
    )
    of_person = [
        [*User.objects.values_list("pk", "is_active", "is_superuser")],
        [*Membership.objects.values_list("user", "organization")],
        [*User.groups.through.objects.values_list("user", "group")],
        [*User.user_permissions.through.objects.values_list("user", "permission")],
    ]
    of_thing = [
        [*Card.objects.values_list("pk", "board", "owner", "title", "notes", "salary", "status", "public")],
        [*Document.objects.values_list("pk", "owner", "text")],
        [*Note.objects.values_list("document", "text", "secret")],
        [*GroupObjectPermission.objects.values_list("object_pk", "group", "permission")],
    ]

    grants = [*UserObjectPermission.objects.values_list("object_pk", "user", "permission")]

    def of(rows: list[Any], key: Any) -> frozenset[Any]:
        return frozenset(row for row in rows if str(row[0]) == str(key))

    def cause(person: str, thing: str) -> Any:
        return (
            of_all,
            of([row for row in grants if row[1] == keys[person]], THINGS[thing][1]),
            *(of(rows, keys[person]) for rows in of_person),
            *(of(rows, THINGS[thing][1]) for rows in of_thing),
        )

    return cause


def view_of(user: Any, thing: str) -> str:
    """What a GET answers, as JSON text."""
    return get(user, thing)[0]


def get(user: Any, thing: str) -> tuple[str, str | None]:
    """The same, and the ETag as it stands in the header."""
    if not is_there(user):
        return NOTHING, None
    client = APIClient()
    client.force_authenticate(user if user.pk else None)
    response = client.get(f"/api/{THINGS[thing][2]}/{HASHIDS[thing]}/")
    assert response.status_code in (200, 401, 404), response
    return (json.dumps(response.json()), response["ETag"]) if response.status_code == 200 else (NOTHING, None)


def values_for(user: Any, instance: Any) -> Iterator[Any]:
    """The values of an instance, as far as they carry marks, to which a user has a right."""
    if is_there(user):
        yield from values_of_card(user, instance) if isinstance(instance, Card) else values_of_document(user, instance)


def values_of_card(user: Any, card: Any) -> Iterator[Any]:
    is_at_home = user.pk is not None and user.memberships.filter(organization__boards=card.board_id).exists()
    owns = user.pk == card.owner_id
    is_on_the_team = is_at_home and (owns or user.has_perm("board.view_card", card))
    if card.public or is_on_the_team:
        yield card.title
        if owns:
            yield user.email
    if is_on_the_team:
        yield card.notes
        if owns or user.has_perm("board.view_salary", card):
            yield card.salary
    elif card.public and is_at_home and user.has_perm("board.view_salary", card):
        yield card.salary


def values_of_document(user: Any, document: Any) -> Iterator[Any]:
    owns = user.pk is not None and user.pk == document.owner_id
    if owns or user.has_perm("lab.view_document", document):
        if owns or user.has_perm("lab.change_document", document):
            yield document.text
        for note in document.notes.all():
            yield note.text
            if owns or user.has_perm("lab.view_note"):
                yield note.secret
