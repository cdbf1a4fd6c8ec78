"""What DRF views need beside the serializers: objects found by their hashid, answers named by their ETag."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.http import Http404
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from rest_framework.response import Response

from .encoding import etag
from .hashids import InvalidHashid, decode

if TYPE_CHECKING:
    from django.http import HttpResponseBase
    from rest_framework.generics import GenericAPIView
    from rest_framework.request import Request
    from rest_framework.views import APIView

    GenericBase, Base = GenericAPIView[Any], APIView
else:
    GenericBase = Base = object


class HashidLookupMixin(GenericBase):
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


class ETagMixin(Base):
    """For a DRF view: an answer to a GET carries the ETag of its bytes, and is a 304 for who holds them already.

    In JSON as DRF writes it by itself, an object has the ETag that a push has in ``meta.etag``, where it is by the
    same serializer for the same viewer. Any other representation is other bytes, and has another. Whether something
    is changed is told of what was made just now, after the view has asked for all permissions; and as a cache may
    forget to ask, it is told to (``Cache-Control``, unless the view has set that). RFC 9110, sections 8.8.3 and 13.
    """

    def finalize_response(
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        response = super().finalize_response(request, response, *args, **kwargs)
        if request.method in ("GET", "HEAD") and response.status_code == 200 and isinstance(response, Response):
            response.setdefault("Cache-Control", "private, no-cache")
            response.add_post_render_callback(partial(name, request))
        return response


def name(request: Request, response: Response) -> HttpResponseBase | None:
    """What is answered in place of a response that was rendered: itself with its ETag, 304 or 412."""
    response.setdefault("ETag", quote_etag(etag(response.content)))
    return get_conditional_response(request._request, response["ETag"], response=response)
