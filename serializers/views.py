"""What DRF views need beside the serializers: objects found by their hashid, answers named by their ETag."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.http import Http404
from django.utils.cache import get_conditional_response
from rest_framework.response import Response

from .encoding import etag
from .hashids import InvalidHashid, decode

if TYPE_CHECKING:
    from django.http import HttpResponseBase
    from rest_framework.generics import GenericAPIView
    from rest_framework.request import Request
    from rest_framework.views import APIView

    GenericBase = GenericAPIView[Any]
    Base = APIView
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
    """For a DRF view: its answer to a GET carries the ETag of its bytes, and is 304 for who holds these already.

    An object in the JSON that DRF writes by itself has the ETag that its push has in ``meta.etag``, if one serializer
    makes both for one viewer. Any other representation is other bytes, and has another. A 304 is told of what the view
    made just now, its permissions included; so that it is asked each time, caches are told to (``Cache-Control``,
    unless the view has set that). RFC 9110, sections 8.8.3 and 13.
    """

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        is_whole = request.method in ("GET", "HEAD") and response.status_code == 200
        if is_whole and isinstance(response, Response):  # not Django's own, which a view may give as well
            response.setdefault("Cache-Control", "private, no-cache")
            response.add_post_render_callback(partial(answer_conditionally, request))
        return response


def answer_conditionally(request: Request, response: Response) -> HttpResponseBase | None:
    """What is sent of a response that was rendered: itself, with its ETag; or that it has not changed."""
    response.setdefault("ETag", f'"{etag(response.content)}"')
    return get_conditional_response(request._request, response["ETag"], response=response)
