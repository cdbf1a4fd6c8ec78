"""What a viewer is shown: hashids for keys, facts about the viewer, and serializers that leave out what the viewer may
not see."""

from .facts import FactField, FactListSerializer
from .fields import HashidField, HashidRelatedField
from .guards import PerUserSerializerMixin
from .views import ETagMixin, HashidLookupMixin

__all__ = [
    "ETagMixin",
    "FactField",
    "FactListSerializer",
    "HashidField",
    "HashidLookupMixin",
    "HashidRelatedField",
    "PerUserSerializerMixin",
]
