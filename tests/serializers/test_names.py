"""Names: a payload's fields are told by name, at any depth, and nothing of what they hold."""

from __future__ import annotations

import json

import pytest
from board.models import Card
from rest_framework import serializers

from livegate.serializers.names import names_in


class Owner(serializers.Serializer):
    email = serializers.EmailField()
    settings = serializers.JSONField()


class Tree(serializers.Serializer):
    name = serializers.CharField()

    def get_fields(self):
        return super().get_fields() | {"children": Tree(many=True)}


class Shown(serializers.Serializer):
    title = serializers.CharField()
    owner = Owner()
    editors = Owner(many=True)
    rows = serializers.ListField(child=serializers.ListField(child=Owner()))
    scores = serializers.DictField(child=Owner())
    free = serializers.JSONField()
    method = serializers.SerializerMethodField()
    tree = Tree()


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({}, ()),
        ({"title": "t"}, ("title",)),
        ({"owner": {"email": "e"}}, ("owner", "owner.email")),
        ({"owner": {"email": "e", "secret": 1}, "title": 1}, ("owner", "owner.email", "title")),
        ({"owner": None, "editors": None}, ("owner", "editors")),
        ({"owner": "by_another_field"}, ("owner",)),
        ({"owner": {"settings": {"email": 1}}}, ("owner", "owner.settings")),
        ({"editors": [{"email": 1}, {"email": 2, "settings": 3}]}, ("editors", "editors.email", "editors.settings")),
        ({"editors": []}, ("editors",)),
        ({"rows": [[{"email": 1}], [{"settings": 1}], 5]}, ("rows", "rows.email", "rows.settings")),
        ({"scores": {"anna": {"email": 1}}}, ("scores",)),
        ({"free": {"email": [{"a": 1}]}, "method": {"anna": 1}}, ("free", "method")),
        (
            {"tree": {"name": 1, "children": [{"name": 1, "children": [{"name": 2}]}]}},
            (
                "tree",
                "tree.name",
                "tree.children",
                "tree.children.name",
                "tree.children.children",
                "tree.children.children.name",
            ),
        ),
        ({"added_by_to_representation": {"title": 1}}, ("added_by_to_representation",)),
        ([{"title": 1}], ()),
        ("title", ()),
        (None, ()),
    ],
)
def test_names_are_told_as_far_as_they_are_declared_and_occur(data, names):
    assert names_in(Shown, json.dumps(data).encode()) == names


def test_what_django_rest_framework_nests_by_depth_is_named():
    class Deep(serializers.ModelSerializer):
        class Meta:
            model = Card
            fields = ["title", "board"]
            depth = 1

    names = names_in(Deep, b'{"title": 1, "board": {"id": 1, "name": 2, "no": 3}}')

    assert names[:2] == ("title", "board")
    assert "board.name" in names
    assert "board.no" not in names


class Needy(Shown):
    def __init__(self, instance=None, *, context):
        super().__init__(instance, context=context)


class Asking(Shown):
    def get_fields(self):
        return {"owner": self.context["request"].user}


class Plain(serializers.BaseSerializer):
    pass


@pytest.mark.parametrize("serializer", [None, Needy, Asking, Plain])
def test_where_fields_can_not_be_told_without_a_viewer_the_top_is(serializer):
    assert names_in(serializer, b'{"owner": {"email": 1}, "title": 1}') == ("owner", "title")
