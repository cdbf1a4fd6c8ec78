"""Serializers of the lab; what a test wants to change it hangs on a class for the time of the test."""

from rest_framework import serializers

from livegate.permissions import is_owner, is_self
from livegate.serializers import HashidField, PerUserSerializerMixin

from . import models


class PageSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    id = HashidField()

    class Meta:
        model = models.Page
        fields = ["id", "text"]
        guards = {"text": ~is_self}


def plain(shown_model, *shown):
    class Plain(serializers.ModelSerializer):
        id = HashidField()

        class Meta:
            model = shown_model
            fields = ["id", *shown]

    return Plain


class NoteSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    class Meta:
        model = models.Note
        fields = ["text", "secret"]
        guards = {"secret": is_owner("document__owner")}


class DocumentSerializer(serializers.ModelSerializer):
    id = HashidField()
    notes = NoteSerializer(many=True, read_only=True)

    class Meta:
        model = models.Document
        fields = ["id", "text", "notes"]
