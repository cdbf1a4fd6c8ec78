"""Dossiers: documents of which nearly all is guarded, at the root and nested, published and in a REST API."""

from rest_framework import mixins, serializers, viewsets
from rest_framework.exceptions import NotFound
from rest_framework.permissions import BasePermission

from livegate.permissions import has_model_perm, has_perm, is_owner
from livegate.serializers import ETagMixin, HashidField, HashidLookupMixin, PerUserSerializerMixin

from .models import Document, Note

can_see = has_perm("view_document") | is_owner("owner")


class EntrySerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    class Meta:
        model = Note
        fields = ["text", "secret"]
        guards = {"secret": has_model_perm("view_note") | is_owner("document__owner")}


class DossierSerializer(PerUserSerializerMixin, serializers.ModelSerializer):
    id = HashidField()
    notes = EntrySerializer(many=True, read_only=True)

    class Meta:
        model = Document
        fields = ["id", "text", "notes"]
        guards = {"text": has_perm("change_document") | is_owner("owner")}


class DossierPermission(BasePermission):
    """The permission to see a dossier, without a word of livegate's."""

    def has_object_permission(self, request, view, document):
        owns = request.user.pk is not None and request.user.pk == document.owner_id
        if owns or request.user.has_perm("lab.view_document", document):
            return True
        raise NotFound


class DossierViewSet(ETagMixin, HashidLookupMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    queryset = Document.objects.prefetch_related("notes")
    serializer_class = DossierSerializer
    permission_classes = [DossierPermission]
