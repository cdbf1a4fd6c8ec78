"""DRF views that find their object by its hashid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import Http404

from .hashids import InvalidHashid, decode

if TYPE_CHECKING:
    from rest_framework.generics import GenericAPIView

    Base = GenericAPIView[Any]
else:
    Base = object


class HashidLookupMixin(Base):
    """For a DRF generic view or viewset: URLs carry the hashid, and one that stands for nothing is a 404."""

    lookup_field = "hashid"

    def get_object(self) -> Any:
        queryset = self.filter_queryset(self.get_queryset())
        try:
            key = decode(queryset.model, self.kwargs[self.lookup_url_kwarg or self.lookup_field])
        except InvalidHashid as error:
            raise Http404 from error  # which DRF answers as it answers NotFound
        instance = queryset.filter(pk=key).first()
        if instance is None:
            raise Http404  # without a word of its own, like all others
        self.check_object_permissions(self.request, instance)
        return instance
