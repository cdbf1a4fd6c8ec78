"""Boards, whose serializer raises for one viewer: the one whose name a board has; and organizations."""

from board.models import Board, Organization
from rest_framework import mixins, serializers, viewsets

from livegate.serializers import HashidField, HashidLookupMixin


class BoardSerializer(serializers.ModelSerializer):
    id = HashidField()

    class Meta:
        model = Board
        fields = ["id", "name"]

    def to_representation(self, board):
        if self.context["request"].user.username == board.name:
            raise RuntimeError("This serializer raises for one viewer.")
        return super().to_representation(board)


class BoardViewSet(HashidLookupMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    queryset = Board.objects.all()
    serializer_class = BoardSerializer


class OrganizationSerializer(serializers.ModelSerializer):
    id = HashidField()

    class Meta:
        model = Organization
        fields = ["id", "name"]


class OrganizationViewSet(HashidLookupMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    queryset = Organization.objects.all()
    serializer_class = OrganizationSerializer
