"""What is pushed, made by which serializer, to whom."""

from django.contrib.auth import get_user_model

from livegate.gateway.publications import publish
from livegate.permissions import is_self, same_tenant

from .models import Card
from .permissions import can_see
from .serializers import CardSerializer, user_serializer

publish(
    Card,
    CardSerializer,
    to=can_see,
    queryset=Card.objects.select_related("board", "owner"),
)
publish(
    get_user_model(),
    user_serializer,
    to=is_self | same_tenant("memberships__organization", "memberships__organization"),
    watch=["username", "email", "first_name", "last_name"],
)
