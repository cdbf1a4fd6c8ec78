"""Serializers of a page in every shape that decides what can be shared, and people whose rights on it are mixed."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.utils.translation import gettext
from guardian.shortcuts import assign_perm
from rest_framework import serializers

from livegate.permissions import has_perm, is_authenticated, is_owner, is_self, permission
from livegate.serializers import HashidField, HashidRelatedField, PerUserSerializerMixin
from livegate.serializers.facts import FactField

from .models import Page

if TYPE_CHECKING:
    from random import Random

User = get_user_model()
CODENAMES = ["view_page", "change_page", "delete_page", "add_page"]
CIRCUMSTANCES = [
    {},
    {"language": "de"},
    {"time_zone": "Asia/Tokyo"},
    {"host": "push.example"},
    {"scheme": "https"},
]


@permission
def has_a_short_name(viewer, instance):
    return len(viewer.user.username) < 7


# Facts, as an application writes them


def edits(viewers, pages):
    """Whether a viewer is one of the editors."""
    calls["edits"] += 1
    found = Page.editors.through.objects.filter(user__in=keys_of(viewers), page__in=[page.pk for page in pages])
    return dict.fromkeys(found.values_list("user", "page"), True)


def variety(viewers, pages):
    """What JSON has: 1 is not true, and not everything can be hashed."""
    values = [1, True, 1.0, "1", None, [1], {"a": True}, {"a": 1}]
    return {(key, page.pk): values[(key or 0) % len(values)] for key in keys_of(viewers) for page in pages}


def nickname(viewers, people):
    """About those who are nested in a page."""
    calls["nickname"] += 1
    return {(key, person.pk): f"{key} calls {person.pk}" for key in keys_of(viewers) if key for person in people}


def keys_of(viewers):
    return [viewer.user.pk for viewer in viewers]


calls = Counter()


# Serializers of which everything can be shared by those who have the same answers


class PersonSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["username", "email"]
        guards = {"email": is_self | has_a_short_name}


class NicknamedSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    nickname = FactField(nickname, default=None)

    class Meta:
        model = User
        fields = ["username", "nickname"]


class Plain(serializers.ModelSerializer):
    id = HashidField()

    class Meta:
        model = Page
        fields = ["id", "text"]


class Unguarded(PerUserSerializerMixin, Plain):
    pass


class Guarded(PerUserSerializerMixin, Plain):
    """The order of the fields is of no alphabet, and what is guarded stands among what is not."""

    second = serializers.CharField(source="text")
    first = serializers.CharField(source="text")

    class Meta:
        model = Page
        fields = ["second", "owner", "id", "first", "text"]
        guards = {"text": has_perm("change_page"), "first": has_perm("delete_page"), "owner": is_owner("owner")}


class Asking(Guarded):
    """Its guards are asked for one viewer after the other."""

    class Meta(Guarded.Meta):
        guards = {"text": has_a_short_name, "first": has_a_short_name & is_authenticated}


class BehindOneGuard(PerUserSerializerMixin, Plain):
    class Meta:
        model = Page
        fields = ["owner", "id", "text"]
        guards = dict.fromkeys(["owner", "text"], has_perm("change_page") | has_perm("delete_page"))


class Inheriting(Guarded):
    """Forgets its parent's guards, which hold nevertheless."""

    class Meta:
        model = Page
        fields = ["text", "first", "second", "id", "owner"]


class Facts(PerUserSerializerMixin, Plain):
    variety = FactField(variety, default="nothing")
    edits = FactField(edits, default=False)

    class Meta:
        model = Page
        fields = ["variety", "id", "text", "edits"]


class GuardedFacts(Facts):
    class Meta(Facts.Meta):
        guards = {"edits": has_perm("change_page"), "text": has_perm("delete_page")}


class Computed(Guarded):
    """Has a method among its fields, and what is guarded is not all in the row."""

    length = serializers.SerializerMethodField()

    class Meta(Guarded.Meta):
        fields = ["length", *Guarded.Meta.fields]

    def get_length(self, page):
        return len(page.text)


class ComputedFacts(GuardedFacts):
    length = serializers.SerializerMethodField()
    get_length = Computed.get_length

    class Meta(GuardedFacts.Meta):
        fields = [*GuardedFacts.Meta.fields, "length"]


class FactInAnother(Facts):
    """Makes something of a fact, by a class of its own."""

    class Wrapped(FactField):
        def to_representation(self, instance):
            return {"is": super().to_representation(instance)}

    variety = Wrapped(variety, default="nothing")


class FactByHand(Unguarded):
    def get_fields(self):
        return {"edits": FactField(edits, default=False), **super().get_fields()}


class WithoutVariety(PerUserSerializerMixin, Plain):
    edits = FactField(edits, default=False)

    class Meta:
        model = Page
        fields = ["text", "edits"]


class WithoutItsFact(Facts):
    def get_fields(self):
        return {name: field for name, field in super().get_fields().items() if name != "edits"}


class Nested(PerUserSerializerMixin, Plain):
    owner = PersonSerializer()
    editors = PersonSerializer(many=True)

    class Meta:
        model = Page
        fields = ["owner", "id", "editors", "text"]
        guards = {"text": has_perm("change_page"), "editors": has_perm("delete_page")}


class NestedInPlain(Plain):
    owner = PersonSerializer()
    editors = NicknamedSerializer(many=True)

    class Meta:
        model = Page
        fields = ["id", "owner", "editors"]


class NestedInNested(Plain):
    page = Nested(source="*")
    plain = NestedInPlain(source="*")

    class Meta:
        model = Page
        fields = ["page", "plain"]


class Representing(Guarded):
    def to_representation(self, instance):
        shown = super().to_representation(instance)
        return {**shown, "count": len(shown)}


class Getting(Guarded):
    def get_fields(self):
        fields = super().get_fields()
        return {"length": serializers.IntegerField(source="pk"), **dict(reversed(fields.items()))}


class Data(Guarded):
    @property
    def data(self):
        return {"page": super().data}


class Hiding(Guarded):
    def hidden_fields(self, instance):
        return super().hidden_fields(instance) | {"id"}


class Skipping(Guarded):
    """One field is left out by DRF, another has its default."""

    missing = serializers.CharField(source="nothing", required=False)
    otherwise = serializers.CharField(source="nowhere", default="default")

    class Meta(Guarded.Meta):
        fields = ["missing", "owner", "otherwise", "text", "first"]


class Linked(PerUserSerializerMixin, serializers.HyperlinkedModelSerializer):
    url = serializers.HyperlinkedIdentityField(view_name="card-detail", lookup_field="hashid")
    absolute = serializers.SerializerMethodField()

    class Meta:
        model = Page
        fields = ["url", "absolute", "text"]
        guards = {"text": has_perm("change_page")}

    def get_absolute(self, page):
        request = self.context["request"]
        return [request.build_absolute_uri("/x/"), request.get_host(), request.is_secure(), request.method]


class Local(Unguarded):
    word = serializers.SerializerMethodField()
    joined = serializers.DateTimeField(source="owner.date_joined")

    class Meta:
        model = Page
        fields = ["word", "joined"]

    def get_word(self, page):
        return gettext("Monday")


class Related(PerUserSerializerMixin, serializers.ModelSerializer):
    """The field would look at the user to read what a client sends; to show it, it need not."""

    class Owner(HashidRelatedField):
        def get_queryset(self):
            return User.objects.filter(pk=self.context["request"].user.pk)

    owner = Owner(queryset=User.objects.all())

    class Meta:
        model = Page
        fields = ["owner", "text"]
        guards = {"text": has_perm("change_page")}


class Whole(serializers.BaseSerializer):
    """None of DRF's fields."""

    def to_representation(self, page):
        return [page.text, {"pk": page.pk}]


class Memoizing(PerUserSerializerMixin, Plain):
    """Keeps what it has shown wherever it can; who may see more leaves it to nobody."""

    first = serializers.SerializerMethodField()
    second = serializers.SerializerMethodField()
    third = serializers.SerializerMethodField()
    memory = serializers.SerializerMethodField()
    later = serializers.SerializerMethodField(method_name="get_memory")

    class Meta:
        model = Page
        fields = ["first", "second", "third", "memory", "later"]
        guards = {
            "first": has_perm("change_page"),
            "second": has_perm("delete_page"),
            "third": is_owner("owner"),
            "later": has_perm("view_page"),
        }

    def keep(self, secret):
        page, request = self.instance, self.context["request"]
        for place in (page, page.owner, self, request, request._request, self.context["view"]):
            place.memory = f"{getattr(place, 'memory', '')} {secret}"
        self.context["memory"] = f"{self.context.get('memory', '')} {secret}"
        return secret

    def get_first(self, page):
        return self.keep("first")

    def get_second(self, page):
        return self.keep("second")

    def get_third(self, page):
        return self.keep("third")

    def get_memory(self, page):
        request = self.context["request"]
        places = (page, page.owner, self, request._request, self.context["view"])
        return [self.context.get("memory"), *(getattr(place, "memory", None) for place in places)]


SHARED = [
    Plain,
    Unguarded,
    Guarded,
    Asking,
    BehindOneGuard,
    Inheriting,
    Facts,
    GuardedFacts,
    Computed,
    ComputedFacts,
    FactInAnother,
    FactByHand,
    WithoutItsFact,
    Nested,
    NestedInPlain,
    NestedInNested,
    Representing,
    Getting,
    Data,
    Hiding,
    Skipping,
    Linked,
    Local,
    Related,
    Whole,
]


# Serializers that reach for the user, each in its own way: what they make is made for one


class ByMethod(Guarded):
    name = serializers.SerializerMethodField()

    class Meta(Guarded.Meta):
        fields = [*Guarded.Meta.fields, "name"]

    def get_name(self, page):
        return self.context["request"].user.username


class ByAuth(ByMethod):
    def get_name(self, page):
        return [str(self.context["request"].auth), self.context["request"].user.username]


class ByHttpRequest(ByMethod):
    def get_name(self, page):
        return self.context["request"]._request.user.username


class ByView(ByMethod):
    def get_name(self, page):
        return self.context["view"].request.user.username


class ByGetattr(ByMethod):
    def get_name(self, page):
        return getattr(getattr(self.context["request"], "user", None), "username", "nobody")


class ByHasattr(ByMethod):
    def get_name(self, page):
        return self.context["request"].user.username if hasattr(self.context["request"], "user") else "nobody"


class ByTry(ByMethod):
    def get_name(self, page):
        try:
            return self.context["request"].user.username
        except:  # noqa: E722
            return "nobody"


class BySetting(ByMethod):
    def get_name(self, page):
        request = self.context["request"]
        try:
            request.user = User(username=f"{page.pk}")
        except BaseException:
            return "could not be set"
        return request.user.username


class ByCopy(ByMethod):
    """DRF makes another request of one, when it renders a form."""

    def get_name(self, page):
        from rest_framework.request import clone_request

        return clone_request(self.context["request"], "GET").user.username


class ByFields(Guarded):
    def get_fields(self):
        fields = super().get_fields()
        return fields if self.context["request"].user.is_authenticated else {"id": fields["id"]}


class ByInit(Guarded):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.name = self.context["request"].user.username

    def to_representation(self, instance):
        return {**super().to_representation(instance), "name": self.name}


class ByRepresentation(Guarded):
    def to_representation(self, instance):
        return {**super().to_representation(instance), "name": self.context["request"].user.username}


class ByNested(Unguarded):
    owner = ByMethod(source="*")

    class Meta:
        model = Page
        fields = ["id", "owner"]


class ByDefault(Guarded):
    """DRF's own way to learn who is asking."""

    name = serializers.CharField(source="nowhere", default=serializers.CurrentUserDefault())

    class Meta(Guarded.Meta):
        fields = [*Guarded.Meta.fields, "name"]

    def to_representation(self, instance):
        self.fields["name"].get_default()
        return {"name": serializers.CurrentUserDefault()(self.fields["name"]).username}


class InsteadOfAFact(Facts):
    """Shows something else under the name of a fact."""

    def get_fields(self):
        return super().get_fields() | {"variety": serializers.CharField(source="text")}


class Failing(Guarded):
    """Fails for some, as a GET by them does."""

    def to_representation(self, instance):
        if self.context["request"].user.is_anonymous:
            raise ValueError
        return super().to_representation(instance)


PERSONAL = [
    ByMethod,
    ByAuth,
    ByHttpRequest,
    ByView,
    ByGetattr,
    ByHasattr,
    ByTry,
    BySetting,
    ByCopy,
    ByFields,
    ByInit,
    ByRepresentation,
    ByNested,
    ByDefault,
    Failing,
]


def chosen(viewer, page):
    """A function that chooses."""
    return Guarded if viewer.user.is_authenticated and viewer.user.pk % 2 else Nested


# People


def population(random: Random, size: int) -> tuple[list[Page], list[object]]:
    """Two pages, and users with mixed rights on them: owners, editors, members of groups, direct grants, a superuser,
    an anonymous visitor."""
    names = [f"{random.choice(['a', 'somebody'])} {next(numbers)}" for _ in range(size)]
    users = [User.objects.create(username=name, email=f"{name}@x.example") for name in names]
    User.objects.filter(pk=users[0].pk).update(is_superuser=True)
    pages = [Page.objects.create(text=f"page {number} \u2028 ä", owner=random.choice(users)) for number in range(2)]
    groups = [Group.objects.create(name=f"group {next(numbers)}") for _ in range(3)]
    for page in pages:
        page.editors.set(random.sample(users, size // 3))
        for codename in CODENAMES:
            assign_perm(codename, random.sample(users, size // 2), page)
            assign_perm(codename, random.choice(groups), page)
    for group in groups:
        group.user_set.set(random.sample(users, size // 4))
    return pages, [*users, AnonymousUser()]


numbers = count(1)
