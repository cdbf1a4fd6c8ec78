"""What somebody writes names a user, an object, a tenant or a socket, or is said to name nothing."""

from __future__ import annotations

import pytest
from board.models import Organization
from django.contrib.auth.models import AnonymousUser

from livegate.gateway.audit.choices import chosen

NOTHING = {"user": None, "instance": None, "tenant": None, "socket": None}
pytestmark = pytest.mark.django_db


def test_nothing_written_is_no_choice():
    assert chosen() == NOTHING


def test_what_is_written_as_it_should_be_is_found(demo):
    organization = Organization.objects.get(name="Northwind")

    assert chosen(
        user="amira",
        instance=f"board.Card:{demo.card.hashid}",
        tenant=f"board.Organization:{organization.pk}",
        socket="0123456789abcdef:7",
    ) == {"user": demo.amira, "instance": demo.card, "tenant": organization, "socket": "0123456789abcdef:7"}
    assert isinstance(chosen(user="(anonymous)")["user"], AnonymousUser)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"user": "zoe"}, "There is no user zoe."),
        ({"instance": "board.Kard:7"}, "There is no model board.Kard."),
        ({"instance": "card"}, "There is no model card."),
        ({"instance": "board.Card:!"}, "! is not the id of any board.Card."),
        ({"instance": "board.Card"}, " is not the id of any board.Card."),
        ({"tenant": "board.Organization:x"}, "x is not the primary key of any board.Organization."),
    ],
)
def test_what_names_nothing_is_said(demo, about, said):
    with pytest.raises(ValueError) as raised:
        chosen(**about)

    assert str(raised.value) == said
