"""People: what stands for a user in the ledger, and their name today."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError

from livegate.gateway.audit.people import key_of, keys_named, nameless, names_of, primary_key

pytestmark = pytest.mark.django_db
User = get_user_model()


def test_a_user_is_named_by_primary_key_and_an_anonymous_one_by_nothing():
    assert key_of(User(pk=17)) == "17"
    assert key_of(AnonymousUser()) == ""


@pytest.mark.parametrize(("user", "error"), [(17, TypeError), (None, TypeError), (User(), ValueError)])
def test_what_is_no_user_that_ever_was_is_an_error(user, error):
    with pytest.raises(error, match="This "):
        key_of(user)


def test_those_who_still_exist_have_names(django_assert_num_queries):
    one, other = User.objects.create(username="one"), User.objects.create(username="other")

    with django_assert_num_queries(1):
        names = names_of([str(one.pk), str(other.pk), str(other.pk), "77777", "", "x", str(10**30)])

    assert names == {str(one.pk): "one", str(other.pk): "other"}
    assert names_of(["", "x"]) == {}
    assert keys_named("one") == [str(one.pk)]
    assert keys_named("nobody") == []


@pytest.mark.parametrize(("text", "key"), [("17", 17), ("", None), ("x", None), (str(10**30), None)])
def test_a_text_is_a_primary_key_or_none(text, key):
    assert primary_key(text) == key


def test_those_without_a_name_are_called_by_what_is_nobodys_name():
    assert nameless("") == "(anonymous)"
    assert nameless("17") == "(gone: 17)"
    for name in (nameless(""), nameless("17")):
        with pytest.raises(ValidationError):
            User(username=name, password="x").full_clean()
