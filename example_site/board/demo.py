"""The people and the card of the demonstration."""

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from guardian.shortcuts import assign_perm, remove_perm
from rest_framework.authtoken.models import Token

from .models import Board, Card, Membership, Organization

User = get_user_model()

# Far from where the sequence of keys begins, so that a new card does not meet it.
CARD_PK = 1_000_001
PEOPLE = [
    {"username": "amira", "name": "Amira", "role": "owns the card"},
    {"username": "ben", "name": "Ben", "role": "Payroll group: may see salaries"},
    {"username": "cleo", "name": "Cleo", "role": "colleague on the team"},
    {"username": "dev", "name": "Dev", "role": "works for another organization"},
    {"username": "", "name": "Anonymous", "role": "a visitor, not logged in"},
]
# Who may know of everybody what they are shown, and why.
OPERATOR = "operator"
EMPLOYERS = {"amira": "Northwind", "ben": "Northwind", "cleo": "Northwind", "dev": "Southgate"}


@transaction.atomic
def load():
    """Bring the demonstration to its beginning, also when it is there already."""
    users = {username: member(username, employer) for username, employer in EMPLOYERS.items()}
    admin, _ = User.objects.update_or_create(username="admin", defaults={"is_staff": True, "is_superuser": True})
    admin.set_password("admin")
    admin.save()
    load_operator()
    board, _ = Board.objects.get_or_create(name="Hiring", organization=Organization.objects.get(name="Northwind"))
    card, _ = Card.objects.update_or_create(
        pk=CARD_PK,
        defaults={
            "board": board,
            "owner": users["amira"],
            "title": "Platform engineer",
            "status": Card.Status.OPEN,
            "public": True,
            "notes": "Two strong candidates; decide by Friday.",
            "salary": 84_000,
        },
    )
    payroll, _ = Group.objects.get_or_create(name="Payroll")
    users["ben"].groups.set([payroll])
    for permission in ("view_card", "view_salary"):
        assign_perm(permission, payroll, card)
    assign_perm("view_card", users["cleo"], card)
    remove_perm("view_salary", users["cleo"], card)


def member(username, employer):
    user, _ = User.objects.update_or_create(
        username=username,
        defaults={"first_name": username.title(), "email": f"{username}@{employer.lower()}.example"},
    )
    organization, _ = Organization.objects.get_or_create(name=employer)
    Membership.objects.get_or_create(user=user, organization=organization)
    Token.objects.get_or_create(user=user)
    return user


def load_operator():
    """Somebody who may read the ledger, and no card that is not public."""
    operator, _ = User.objects.update_or_create(username=OPERATOR)
    operator.user_permissions.set(
        [Permission.objects.get(content_type__app_label="livegate_audit", codename="view_ledgerentry")]
    )
    Token.objects.get_or_create(user=operator)


def demo_card():
    """The card of the demonstration, or one like it where it was deleted."""
    return Card.objects.filter(pk=CARD_PK).first() or Card(pk=CARD_PK)
