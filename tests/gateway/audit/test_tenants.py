"""Who belongs to a tenant is what the permissions of the publications say."""

from __future__ import annotations

import pytest
from board.models import Board, Card, Organization
from django.contrib.auth.models import Group
from guardian.models import UserObjectPermission
from rest_framework.serializers import ModelSerializer

from livegate.gateway.audit import tenants
from livegate.gateway.audit.tenants import paths_to, users_of
from livegate.gateway.publications import Publication
from livegate.permissions import same_tenant

pytestmark = pytest.mark.django_db


def keys(*users):
    return {str(user.pk) for user in users}


def test_the_users_of_a_tenant_are_those_whom_a_permission_leads_to_it(demo):
    northwind, southgate = (Organization.objects.get(name=name) for name in ("Northwind", "Southgate"))

    assert users_of(northwind) == keys(demo.amira, demo.ben, demo.cleo)
    assert users_of(southgate) == keys(demo.dev)


def test_what_no_permission_leads_to_is_no_tenant(demo):
    with pytest.raises(LookupError, match=r"board\.Board"):
        users_of(Board.objects.get())
    with pytest.raises(TypeError, match="str"):
        users_of("Northwind")


@pytest.mark.parametrize(
    ("path", "model", "found"),
    [
        ("groups", Group, ["groups"]),
        ("memberships__organization_id", Organization, ["memberships__organization"]),
        (
            "userobjectpermission_set__permission",
            UserObjectPermission.permission.field.related_model,
            ["userobjectpermission__permission"],
        ),
        ("cards__title", Organization, []),
        ("no_field__organization", Organization, []),
        ("username__organization", Organization, []),
        ("is_authenticated", Organization, []),
    ],
)
def test_a_path_of_attributes_is_asked_as_querysets_take_it(monkeypatch, path, model, found):
    # To publish it would have the rows on the path watched from then on.
    publication = Publication(Card, ModelSerializer, same_tenant("board", path), None, None)
    monkeypatch.setattr(tenants, "all_publications", lambda: [publication])

    assert list(paths_to(model)) == found
