"""The serializers: for livegate with guards that make one, three, or any number of audiences; and those that are plain
DRF and read the user, as one writes them who has never heard of livegate."""

from rest_framework import serializers

from livegate.permissions import has_perm, is_owner
from livegate.serializers import HashidField, PerUserSerializerMixin

from .models import Card
from .rights import GUARDED, PLAIN, SECRETS


class OpenSerializer(serializers.ModelSerializer):
    """The same for everyone."""

    id = HashidField()

    class Meta:
        model = Card
        fields = [*PLAIN, *GUARDED]


class GuardedSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    """Two guarded fields, for three audiences."""

    id = HashidField()

    class Meta:
        model = Card
        fields = [*PLAIN, *GUARDED]
        guards = {name: has_perm(f"view_{name}") | is_owner("owner") for name in GUARDED}


class DistinctSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    """Thirteen guarded fields, for up to 8,192 audiences."""

    id = HashidField()

    class Meta:
        model = Card
        fields = [*PLAIN, *SECRETS]
        guards = {name: has_perm(f"view_{name}") for name in SECRETS}


class PersonalSerializer(serializers.ModelSerializer):
    """Plain DRF: what it shows depends on the user of the request, and it names them."""

    id = HashidField()
    salary = serializers.SerializerMethodField()
    notes = serializers.SerializerMethodField()
    viewer = serializers.SerializerMethodField()

    class Meta:
        model = Card
        fields = [*PLAIN, *GUARDED, "viewer"]

    def get_salary(self, card):
        return card.salary if self.may_see("salary", card) else None

    def get_notes(self, card):
        return card.notes if self.may_see("notes", card) else None

    def get_viewer(self, card):
        return self.context["request"].user.username

    def may_see(self, name, card):
        user = self.context["request"].user
        return card.owner_id == user.pk or user.has_perm(f"bench.view_{name}", card)


class CheckedSerializer(PersonalSerializer):
    """The same, asking the one checker that guardian's documentation advises where several permissions of a user on
    an object are asked for: ``user.has_perm`` would ask the database anew for each."""

    def may_see(self, name, card):
        return card.owner_id == self.context["request"].user.pk or self.context["checker"].has_perm(
            f"view_{name}", card
        )
