"""The REST API, the front page, what an operator is told there, and the button that starts it over."""

from datetime import timedelta

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.http import Http404
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from guardian.shortcuts import assign_perm, get_perms, remove_perm
from rest_framework import mixins, serializers, viewsets
from rest_framework.authtoken.models import Token
from rest_framework.decorators import action, api_view, permission_classes
from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticatedOrReadOnly
from rest_framework.response import Response

from livegate.gateway.audit.explanation import explain, viewer_of
from livegate.gateway.audit.models import LedgerEntry
from livegate.permissions import Viewer
from livegate.serializers import ETagMixin, HashidLookupMixin

from .demo import OPERATOR, PEOPLE, demo_card, load
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
    facts = {"card": card, "panes": panes, "operator": {"token": Token.objects.get(user__username=OPERATOR).key}}
    return render(request, "board/demo.html", {**facts, "statuses": Card.Status.choices})


class ReadsTheLedger(BasePermission):
    """Whoever is told why others see what they see, learns their rights, and of what is there."""

    def has_permission(self, request, view):
        return request.user.has_perm("livegate_audit.view_ledgerentry")


@api_view(["GET"])
@permission_classes([ReadsTheLedger])
def why(request):
    """Why ``?user=`` sees of the card what they see, and what the ledger has of the last minute; without a name, why
    somebody does who is not logged in.

    The front page asks with the token of an operator. It gives that to everybody, as it does those of its people: in
    an application nobody gets it who may not read the ledger.
    """
    name = request.GET.get("user", "")
    user = get_object_or_404(User, username=name) if name else AnonymousUser()
    colleagues = User.objects.filter(username__in=[person["username"] for person in PEOPLE])
    card = demo_card()
    # It is asked at each frame, so nobody is waited for: of sockets, it tells those of this process.
    explanation = explain(user, card, among=map(viewer_of, [*colleagues, None]), timeout=0)
    return Response({"explanation": explanation.as_dict(), "ledger": last_minute(explanation.user, card)})


def last_minute(user, card):
    """What is on record about this card and a user, by their primary key as a text; the newest first."""
    about = LedgerEntry.objects.filter(model=Card._meta.label, key=str(card.pk))
    entries = about.filter(at__gte=timezone.now() - timedelta(minutes=1)).order_by("-at", "-pk")
    return [
        {"at": entry.at, "kind": entry.kind, "fields": entry.fields, "cause": entry.cause, "basis": entry.basis}
        for entry in entries
        if user in entry.users
    ]


@api_view(["POST"])
@permission_classes([AllowAny])
def reset_demo(request):
    if not settings.DEBUG:
        raise Http404
    load()
    return Response(status=204)
