"""What a viewer is shown: hashids for keys, and serializers that leave out what the viewer may not see."""

from .fields import HashidField, HashidRelatedField
from .guards import PerUserSerializerMixin
from .views import HashidLookupMixin

__all__ = ["HashidField", "HashidLookupMixin", "HashidRelatedField", "PerUserSerializerMixin"]
