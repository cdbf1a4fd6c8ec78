"""One serializer for a card, in REST and in push; two for a user, of which the viewer decides."""

from django.contrib.auth import get_user_model
from rest_framework import serializers

from livegate.permissions import is_self
from livegate.serializers import HashidField, HashidRelatedField, PerUserSerializerMixin

from .models import Board, Card
from .permissions import knows_the_salary, on_the_team

User = get_user_model()


class PersonSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    """A user where they are part of something else."""

    id = HashidField()

    class Meta:
        model = User
        fields = ["id", "username", "email"]
        guards = {"email": is_self}


class BoardField(HashidRelatedField):
    """A board of an organization that the user is a member of; of others one does not learn that they exist."""

    def get_queryset(self):
        return Board.objects.filter(organization__memberships__user=self.context["request"].user.pk)


class CardSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    id = HashidField()
    board = BoardField(queryset=Board.objects.none())
    owner = PersonSerializer(read_only=True)

    class Meta:
        model = Card
        fields = ["id", "title", "status", "public", "notes", "salary", "owner", "board"]
        guards = {"notes": on_the_team, "salary": knows_the_salary, "board": on_the_team}


class PublicUserSerializer(serializers.ModelSerializer):
    id = HashidField()

    class Meta:
        model = User
        fields = ["id", "username"]


class OwnUserSerializer(serializers.ModelSerializer):
    id = HashidField()

    class Meta:
        model = User
        fields = ["id", "username", "email", "first_name", "last_name", "date_joined"]


def user_serializer(viewer, user):
    """The full user for the user themselves, the restricted one for everyone else."""
    return OwnUserSerializer if viewer.user == user else PublicUserSerializer
