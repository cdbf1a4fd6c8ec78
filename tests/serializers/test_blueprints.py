"""Blueprints: a serializer that is made by one has the fields that DRF would build for it, and each of them new."""

from __future__ import annotations

import pytest
from board.models import Card
from django.contrib.auth import get_user_model
from django.db.models import Q
from django.utils.translation import gettext_lazy
from lab.models import Badge, Document, Page
from rest_framework import serializers
from rest_framework.serializers import SerializerMetaclass

from livegate.serializers import HashidField, PerUserSerializerMixin
from livegate.serializers.blueprints import blueprint_of, make
from livegate.serializers.columns import declaration

User = get_user_model()


def serializer(model_class, *names, **own):
    """A serializer class of a model that shows these fields, with more of its own."""
    meta = type("Meta", (), {"model": model_class, "fields": [*names] or "__all__", "extra_kwargs": {}})
    return type("Made", (serializers.ModelSerializer,), {"Meta": meta, **own})


def has_blueprint(kind):
    return blueprint_of(kind, declaration(kind)) is not None


def built(kind):
    """The fields of a serializer that is made by its blueprint, after another that was made by it."""
    make(kind, kind.Meta.model(), {}).fields  # noqa: B018
    return make(kind, kind.Meta.model(), {})


def listed(serializer):
    """The fields of a serializer, as DRF lists them, each with all that it was made from."""
    return repr(serializer).splitlines()[1:]


@pytest.fixture
def unbuilt(monkeypatch):
    """DRF's own way to build fields fails: what has fields nevertheless has them by a blueprint."""

    def fail(self, *args):
        raise AssertionError("DRF was asked to build a field")

    return lambda: monkeypatch.setattr(serializers.ModelSerializer, "build_field", fail)


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (Card, ["id", "title", "declared", "status", "salary", "board", "public"]),
        (Page, ["declared", "owner", "text", "owner_id"]),
        (Document, ["id", "text", "declared"]),
        (Badge, ["document", "declared"]),
        (User, ["username", "email", "is_active", "date_joined", "declared"]),
    ],
)
def test_the_fields_are_those_that_drf_builds_in_their_order(model, names, unbuilt):
    kind = serializer(model, *names, declared=serializers.CharField(max_length=7, help_text="own"))
    expected, given = listed(kind(model())), {name: type(field) for name, field in kind(model()).fields.items()}
    first = make(kind, model(), {})
    assert listed(first) == expected
    unbuilt()
    second = make(kind, model(), {"some": "context"})

    assert listed(second) == expected
    assert {name: type(field) for name, field in second.fields.items()} == given
    assert list(second.fields) == list(given)
    assert all(field.parent is second and field.field_name == name for name, field in second.fields.items())
    assert second.context == {"some": "context"}
    assert second.url_field_name == "url"


def test_each_has_fields_of_its_own_and_so_has_what_can_be_changed_in_them():
    kind = serializer(Card, "id", "title", "salary", "notes", "extra", extra=serializers.CharField())
    kind.Meta.extra_kwargs = {
        "title": {
            "style": {"rows": [1]},
            "help_text": ["text"],
            "validators": [print],
            "error_messages": {"blank": "!"},
        }
    }
    expected = listed(kind(Card()))
    used = built(kind)
    for name, field in used.fields.items():
        field.left = name
    used.fields["title"].style["rows"].append(2)
    used.fields["title"].validators.append(repr)
    used.fields["title"].error_messages["blank"] = "changed"
    used.fields["title"].help_text.append("changed")
    used.fields.pop("salary")

    later = built(kind)

    assert list(later.fields) == ["id", "title", "salary", "notes", "extra"]
    assert not any(hasattr(field, "left") for field in later.fields.values())
    assert later.fields["title"].style == {"rows": [1]}
    assert later.fields["title"].help_text == ["text"]
    assert print in later.fields["title"].validators
    assert repr not in later.fields["title"].validators
    assert later.fields["title"].error_messages["blank"] == "!"
    assert listed(later) == expected


def shout(self, *args, **kwargs):
    return serializers.CharField, {"source": "notes"}


class Loud(serializers.CharField):
    """A field of the application's."""


@pytest.mark.parametrize(
    "own",
    [
        {"build_field": shout},
        {"build_standard_field": shout},
        {"get_field_names": lambda self, *args: ["notes"]},
        {"get_fields": lambda self: {"notes": serializers.CharField()}},
        {"get_extra_kwargs": lambda self: {"title": {"source": "notes"}}},
        {"include_extra_kwargs": lambda self, kwargs, extra: {"source": "notes"}},
        {"serializer_field_mapping": dict.fromkeys(serializers.ModelSerializer.serializer_field_mapping, Loud)},
    ],
    ids=lambda own: next(iter(own)),
)
def test_a_class_that_builds_its_fields_itself_does_so(own):
    kind = serializer(Card, "title", **own)
    plain = serializer(Card, "title")
    made = built(kind)

    assert listed(made) == listed(kind(Card()))
    assert "get_fields" not in vars(made)
    assert listed(made) != listed(built(plain))


def test_a_mixin_that_builds_fields_itself_does_so():
    mixin = type("Mixin", (), {"build_standard_field": shout})
    kind = type("Mixed", (mixin, serializer(Card, "title")), {})

    assert listed(built(kind)) == listed(kind(Card()))


def test_what_decides_in_the_serializer_itself_decides():
    def narrowed(self, *args, **kwargs):
        serializers.ModelSerializer.__init__(self, *args, **kwargs)
        self.Meta = type("Meta", (), {"model": Card, "fields": ["notes"]})

    kind = serializer(Card, "title", "salary", __init__=narrowed)

    assert list(built(kind).fields) == ["notes"]


def test_a_serializer_that_narrows_its_fields_when_it_is_made_does_so_for_itself():
    def narrowed(self, *args, **kwargs):
        serializers.ModelSerializer.__init__(self, *args, **kwargs)
        for name in self.fields.keys() - self.context["wanted"]:
            self.fields.pop(name)

    kind = serializer(Card, "title", "salary", "notes", __init__=narrowed)

    assert list(make(kind, Card(), {"wanted": {"title"}}).fields) == ["title"]
    assert list(make(kind, Card(), {"wanted": {"salary", "notes"}}).fields) == ["salary", "notes"]


def test_a_declaration_that_changes_later_holds_from_then_on():
    kind = serializer(Card, "title")
    assert list(built(kind).fields) == ["title"]
    kind.Meta.fields = ["title", "notes"]
    assert list(built(kind).fields) == ["title", "notes"]
    kind.Meta.extra_kwargs = {"notes": {"source": "title"}}
    assert built(kind).fields["notes"].source == "title"
    kind._declared_fields = {"title": serializers.IntegerField()}
    assert type(built(kind).fields["title"]) is serializers.IntegerField
    kind.build_field = shout
    assert type(built(kind).fields["notes"]) is serializers.CharField


def test_there_is_none_where_a_field_is_built_from_what_using_it_changes(monkeypatch):
    related = serializer(Page, "owner")
    assert has_blueprint(related)
    monkeypatch.setattr(Page._meta.get_field("owner").remote_field, "limit_choices_to", Q(is_active=True))
    limited = serializer(Page, "owner")

    assert not has_blueprint(limited)
    made = [built(limited).fields["owner"].queryset for _ in range(2)]
    assert made[0] is not made[1]


def test_there_is_none_where_a_field_is_none_of_drfs_plain_ones():
    nested = serializer(Page, "owner")
    nested.Meta.depth = 1
    many = serializer(User, "groups")

    assert not has_blueprint(nested)
    assert not has_blueprint(many)
    assert listed(built(nested)) == listed(nested(Page()))
    assert listed(built(many)) == listed(many(User()))


class Keeping:
    """A default that keeps what it gave first."""

    def __call__(self):
        self.kept = getattr(self, "kept", object())
        return self.kept


@pytest.mark.django_db
@pytest.mark.parametrize("given", [Keeping(), [Keeping()], {"key": Keeping()}, Page.objects.all()])
def test_there_is_none_where_a_field_is_declared_with_what_may_change(given):
    kind = serializer(Card, "title")
    kind.Meta.extra_kwargs = {"title": {"default": given}}

    assert not has_blueprint(kind)
    assert built(kind).fields["title"].default is not built(kind).fields["title"].default


@pytest.mark.parametrize("given", [1, "x", None, ("x", [1]), {"x": gettext_lazy("y")}, Card.Status.OPEN])
def test_there_is_one_where_it_is_declared_with_what_never_changes(given):
    kind = serializer(Card, "title")
    kind.Meta.extra_kwargs = {"title": {"help_text": given, "validators": [Keeping()]}}

    assert has_blueprint(kind)


def test_a_serializer_that_becomes_another_when_it_is_made_has_the_fields_of_that(unbuilt):
    class Narrow(serializer(Card, "title", "notes")):
        def get_fields(self):
            return {"notes": super().get_fields()["notes"]}

    def become(self, *args, **kwargs):
        serializers.ModelSerializer.__init__(self, *args, **kwargs)
        self.__class__ = Narrow

    kind = serializer(Card, "title", "notes", __init__=become)

    assert list(built(kind).fields) == ["notes"]


def test_other_serializers_are_made_by_calling_their_class():
    class Called(SerializerMetaclass):
        def __call__(cls, *args, **kwargs):
            return "called"

    plain = type("Plain", (serializers.Serializer,), {"title": serializers.CharField()})
    called = Called("Called", (serializers.ModelSerializer,), {})

    assert list(make(plain, Card(), {}).fields) == ["title"]
    assert make(called, Card(), {}) == "called"


def test_a_mistake_in_the_declaration_is_told_as_drf_tells_it():
    kind = serializer(Card, "nonsense")
    made = make(kind, Card(), {})

    with pytest.raises(Exception, match="nonsense"):
        made.fields  # noqa: B018
    without_meta = type("Bare", (serializers.ModelSerializer,), {})
    with pytest.raises(AssertionError, match="Meta"):
        make(without_meta, Card(), {}).fields  # noqa: B018


def test_guards_and_hashids_are_fields_like_others():
    kind = type("Guarded", (PerUserSerializerMixin, serializer(Card, "id", "title")), {"id": HashidField()})
    made = built(kind)

    assert type(made.fields["id"]) is HashidField
    assert made.fields["id"] is not built(kind).fields["id"]
