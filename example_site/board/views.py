"""The REST API, the front page, and the button that starts the demonstration over."""

from django.conf import settings
from django.contrib.auth import get_user_model
from django.http import Http404
from django.shortcuts import render
from guardian.shortcuts import assign_perm, get_perms, remove_perm
from rest_framework import mixins, serializers, viewsets
from rest_framework.authtoken.models import Token
from rest_framework.decorators import action, api_view, permission_classes
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import AllowAny, IsAuthenticatedOrReadOnly
from rest_framework.response import Response

from livegate.permissions import Viewer
from livegate.serializers import ETagMixin, HashidLookupMixin

from .demo import PEOPLE, demo_card, load
from .models import Card
from .permissions import CardPermission
from .serializers import CardSerializer, user_serializer

User = get_user_model()


class GrantSerializer(serializers.Serializer):
    """One object permission of one member of the card's organization."""

    user = serializers.SlugRelatedField(slug_field="username", queryset=User.objects.none())
    permission = serializers.ChoiceField(choices=["view_card", "view_salary"])

    def __init__(self, members, **kwargs):
        super().__init__(**kwargs)
        self.fields["user"].queryset = members


class CardViewSet(ETagMixin, HashidLookupMixin, viewsets.ModelViewSet):
    queryset = Card.objects.select_related("board", "owner")
    serializer_class = CardSerializer
    permission_classes = [IsAuthenticatedOrReadOnly, CardPermission]

    def list(self, request, *args, **kwargs):
        permitted = [card for card in self.get_queryset() if self.sees(card)]
        return Response(self.get_serializer(permitted, many=True).data)

    def sees(self, card):
        return CardPermission().has_object_permission(self.request, self, card)

    def permission_denied(self, request, message=None, code=None):
        if code == "not_found":
            raise NotFound
        super().permission_denied(request, message, code)

    def perform_create(self, serializer):
        serializer.save(owner=self.request.user)

    @action(detail=True, methods=["get", "post", "delete"])
    def grants(self, request, hashid):
        """The object permissions on this card; its owner gives them and takes them away."""
        card = self.get_object()
        if card.owner != request.user:
            raise PermissionDenied
        members = User.objects.filter(memberships__organization=card.board.organization)
        if request.method != "GET":
            grant = GrantSerializer(members, data=request.data)
            grant.is_valid(raise_exception=True)
            change = assign_perm if request.method == "POST" else remove_perm
            change(grant.validated_data["permission"], grant.validated_data["user"], card)
        return Response({user.username: sorted(get_perms(user, card)) for user in members})


class UserViewSet(ETagMixin, HashidLookupMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """A user as the requesting user may see them: in full only oneself, and nobody of another organization."""

    def get_queryset(self):
        colleagues = User.objects.filter(memberships__organization__memberships__user=self.request.user)
        return (colleagues | User.objects.filter(pk=self.request.user.pk)).distinct()

    def get_serializer(self, instance, **kwargs):
        chosen = user_serializer(Viewer.of_request(self.request), instance)
        return chosen(instance, context=self.get_serializer_context())


def front_page(request):
    """Several viewers side by side. It hands out the tokens of the demonstration's people, so: never in production."""
    if not settings.DEBUG:
        raise Http404
    card = demo_card()
    panes = [
        {
            **person,
            "token": Token.objects.get(user__username=person["username"]).key if person["username"] else "",
        }
        for person in PEOPLE
    ]
    return render(request, "board/demo.html", {"card": card, "panes": panes, "statuses": Card.Status.choices})


@api_view(["POST"])
@permission_classes([AllowAny])
def reset_demo(request):
    if not settings.DEBUG:
        raise Http404
    load()
    return Response(status=204)
