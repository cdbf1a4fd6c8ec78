"""Facts: fields whose value differs by viewer, worked out for all viewers and instances at once."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
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
        listing = getattr(self.parent, "parent", None)
        together = listing.showing if isinstance(listing, FactListSerializer) else [instance]
        if audience := audience_of(request):
            texts = self.texts(audience.rights, audience.viewers, instance)
            if len(texts) < len(audience.viewers):
                audience.reach(f"the fact {self.field_name} failed")
            audience.agree(parts_of(audience.viewers, texts))
            viewer = next(iter(audience.viewers))
            return self.values_among(audience.rights, instance)[audience.rights.keys[viewer]]
        viewer, rights = Viewer.of_request(request), rights_of(request)
        values = {} if rights is None else self.values_among(rights, instance)
        if viewer.user.pk in values:
            return values[viewer.user.pk]
        known = listing.known if isinstance(listing, FactListSerializer) else {}
        return self.values([viewer], instance, together, known)[viewer.user.pk]

    def texts(self, rights: Rights, viewers: AbstractSet[Viewer], instance: Model) -> dict[Viewer, bytes]:
        """The JSON of the value that each viewer has; nothing of those about whom it is not known, or is no JSON."""
        values = self.values_among(rights, instance)
        written: dict[Any, bytes | None] = {}
        texts: dict[Viewer, bytes] = {}
        for viewer in viewers if values else ():
            value = values[rights.keys[viewer]]
            # By its type too: to a dict, 1 is True.
            plain = (type(value), value) if isinstance(value, bool | int | str | None) else id(value)
            if plain not in written:
                written[plain] = None
                with suppress(Exception):
                    written[plain] = encode_value(value)
            if (text := written[plain]) is not None:
                texts[viewer] = text
        return texts

    def values_among(self, rights: Rights, instance: Model) -> Mapping[Any, Any]:
        """The values for all viewers of an evaluation, by the user's key.

        None where the function failed: it is an error of those whom it concerns, and each is asked about alone.
        """
        together: list[Model] = []
        if instance_key(self.function, instance) not in rights.memo:
            rights.expect([instance])
            # Copies, because what the function keeps on an instance may concern one viewer.
            together = own_copies(rights.expected(type(instance)))
        viewers = [rights.fresh(viewer) for viewer in rights.keys]
        try:
            return self.values(viewers, instance, together, rights.memo)
        except DatabaseError:
            raise
        except BaseException:
            rights.memo |= {instance_key(self.function, one): {} for one in together}
            return {}

    def values(
        self, viewers: Sequence[Viewer], instance: Model, together: Sequence[Model], known: dict[Any, Any]
    ) -> Mapping[Any, Any]:
        """The values of an instance by the user's key; those of all that is shown with it are ``known`` then."""
        key = instance_key(self.function, instance)
        if key not in known:
            instances = {one.pk: one for one in together}
            users = {viewer.user.pk for viewer in viewers}
            found = self.function(viewers, list(instances.values()))
            values_of = {one: dict.fromkeys(users, self.otherwise) for one in instances}
            for user_key, own_key in found:
                if user_key not in users or own_key not in instances:
                    raise LookupError(
                        f"The fact {self.field_name} gave a value for a pair of keys that it was not asked about. "
                        "The keys are (user, instance), as primary keys."
                    )
                values_of[own_key][user_key] = found[user_key, own_key]
            known |= {instance_key(self.function, one): values_of[one.pk] for one in instances.values()}
        values: Mapping[Any, Any] = known[key]
        return values


def instance_key(function: Fact, instance: Model) -> tuple[Any, ...]:
    return function, instance._meta.concrete_model, instance.pk


def parts_of(viewers: AbstractSet[Viewer], texts: Mapping[Viewer, bytes]) -> list[AbstractSet[Viewer]]:
    """The viewers who have the same text, or have none."""
    parts: dict[bytes | None, set[Viewer]] = {}
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
