"""Facts: fields whose value differs by viewer, worked out for all viewers and instances at once."""

from __future__ import annotations

from contextlib import suppress
from contextvars import copy_context
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseFailure
from django.db.models import Model
from django.db.models.manager import BaseManager
from rest_framework.serializers import Field, ListSerializer

from ..permissions.copies import own_copies
from ..permissions.requests import audience_of, rights_of
from ..permissions.viewers import Viewer
from .encoding import encode_value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from ..permissions.rights import Rights

    # (viewers, instances) to the values that are not the default, each at (the user's key, the instance's key).
    Fact = Callable[[Sequence[Viewer], Sequence[Any]], Mapping[tuple[Any, Any], Any]]


class FactField(Field[Any, Any, Any, Any]):
    """A value that differs by viewer, such as whether they marked the instance; read-only.

        def favorites(viewers, cards):
            users = [viewer.user.pk for viewer in viewers]
            found = Favorite.objects.filter(user__in=users, card__in=cards)
            return dict.fromkeys(found.values_list("user", "card"), True)

        is_favorite = FactField(favorites, default=False)

    The function gets viewers and instances, and gives the values by (primary key of the user, primary key of the
    instance), such as JSON takes as they are; an anonymous viewer's key is None. What it leaves out has the
    ``default``. It is called once for all viewers of an evaluation, and once for a list, in push and in REST.
    Raises LookupError for a key that was not asked for.
    """

    def __init__(self, function: Fact, *, default: Any, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "read_only": True})
        self.function = function
        self.otherwise = default

    def get_attribute(self, instance: Any) -> Any:
        return instance

    def to_representation(self, instance: Any) -> Any:
        request = self.context.get("request")
        if request is None:
            raise ImproperlyConfigured(
                f"{self.field_name} is a fact about the viewer, and there is none. "
                'Pass the request: context={"request": request}.'
            )
        if audience := audience_of(request):
            viewer = next(iter(audience.viewers))
            texts = self.texts(audience.rights, audience.viewers, instance)
            if len(texts) < len(audience.viewers):
                audience.reach(f"the fact {self.field_name} failed")
            audience.agree(parts_of(audience.viewers, texts))
            return self.value_of(
                audience.rights.crowd.keys[viewer], self.values_among(audience.rights, viewer, instance)
            )
        viewer, rights = Viewer.of_request(request), rights_of(request)
        values = None if rights is None else self.values_among(rights, viewer, instance)
        if values is None:
            listing = getattr(self.parent, "parent", None)
            if isinstance(listing, FactListSerializer):
                values = self.values([viewer], instance, listing.showing, listing.known)
            else:
                values = self.values([viewer], instance, [instance], {})
        return self.value_of(viewer.user.pk, values)

    def value_of(self, key: Any, values: Mapping[Any, Any] | None) -> Any:
        """The value of the user with this key, nobody else's: whoever gets it may change it."""
        return deepcopy((values or {}).get(key, self.otherwise))

    def texts(self, rights: Rights, viewers: AbstractSet[Viewer], instance: Model) -> dict[Viewer, bytes]:
        """The JSON of the value that each viewer has, who have language, time zone, scheme and host in common; nothing
        of those about whom it is not known, or is no JSON."""
        values = self.values_among(rights, next(iter(viewers)), instance) if viewers else None
        written: dict[Any, bytes | None] = {}
        texts: dict[Viewer, bytes] = {}
        if values is None:
            return texts
        for viewer in viewers:
            value = values.get(rights.crowd.keys[viewer], self.otherwise)
            # By its type too: to a dict, 1 is True.
            plain = (type(value), value) if isinstance(value, bool | int | str | None) else id(value)
            if plain not in written:
                written[plain] = None
                with suppress(Exception):
                    written[plain] = encode_value(value)
            if (text := written[plain]) is not None:
                texts[viewer] = text
        return texts

    def values_among(self, rights: Rights, viewer: Viewer, instance: Model) -> Mapping[Any, Any] | None:
        """The values of an instance by the user's key, asked for all who have language, time zone, scheme and host in
        common with a viewer.

        None where the function failed: it is an error of those whom it concerns, and each is asked about alone.
        """
        alike = next((those for those in rights.crowd.alike if viewer in those), None)
        if alike is None:
            return None
        known = rights.memo.setdefault(viewer.surroundings, {})
        if instance_key(self.function, instance) not in known:
            rights.expect([instance])
            together = rights.expected(type(instance))
            try:
                # Copies, because what the function keeps on an instance may concern one viewer; and a context of its
                # own: what it sets in there is there for nobody.
                viewers, copies = [rights.fresh(one) for one in alike], own_copies(together)
                copy_context().run(self.values, viewers, instance, copies, known)
            except DatabaseFailure:
                raise
            except BaseException:
                known |= {instance_key(self.function, one): None for one in together}
        values: Mapping[Any, Any] | None = known[instance_key(self.function, instance)]
        return values

    def values(
        self, viewers: Sequence[Viewer], instance: Model, together: Sequence[Model], known: dict[Any, Any]
    ) -> Mapping[Any, Any]:
        """What the function gives of an instance, by the user's key; that of all that is shown with it is ``known``
        then."""
        key = instance_key(self.function, instance)
        if key not in known:
            instances = {one.pk: one for one in together}
            users = {viewer.user.pk for viewer in viewers}
            values_of: dict[Any, dict[Any, Any]] = {one: {} for one in instances}
            for (user_key, own_key), value in self.function(viewers, list(instances.values())).items():
                if user_key not in users or own_key not in instances:
                    raise LookupError(
                        f"The fact {self.field_name} gave a value for a pair of keys that it was not asked about. "
                        "The keys are (user, instance), as primary keys."
                    )
                values_of[own_key][user_key] = value
            known |= {instance_key(self.function, one): values_of[one.pk] for one in instances.values()}
        values: Mapping[Any, Any] = known[key]
        return values


def instance_key(function: Fact, instance: Model) -> tuple[Any, ...]:
    return function, instance._meta.concrete_model, instance.pk


def parts_of(viewers: AbstractSet[Viewer], texts: Mapping[Viewer, Any]) -> list[AbstractSet[Viewer]]:
    """The viewers who have the same text, or have none."""
    parts: dict[Any, set[Viewer]] = {}
    for viewer in viewers:
        parts.setdefault(texts.get(viewer), set()).add(viewer)
    return list(parts.values())


class FactListSerializer(ListSerializer[Any]):
    """A list whose facts are worked out together."""

    showing: Sequence[Any]
    known: dict[Any, Any]

    def to_representation(self, data: Any) -> Any:
        self.showing = list(data.all() if isinstance(data, BaseManager) else data)
        self.known = {}
        rights = rights_of(self.context.get("request"))
        if rights is not None:
            rights.expect(one for one in self.showing if isinstance(one, Model))
        return super().to_representation(self.showing)
