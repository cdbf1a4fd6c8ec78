from livegate.gateway.publications import publish
from livegate.permissions import anyone, is_authenticated

from . import models
from .serializers import DocumentSerializer, PageSerializer, plain

publish(models.Page, PageSerializer)
publish(models.Tracked, plain(models.Tracked, "title", "count"), to=anyone)
publish(models.Foreign, plain(models.Foreign, "name", "count"), to=anyone, watch=["name", "count"])
publish(models.ForeignProxy, plain(models.ForeignProxy, "name"), to=anyone, watch=["name"])
publish(models.ForeignChild, plain(models.ForeignChild, "name", "toy"), to=anyone, watch=["name", "toy"])
publish(models.Unwatched, plain(models.Unwatched, "name"), to=anyone)
publish(models.Document, DocumentSerializer, to=is_authenticated)
