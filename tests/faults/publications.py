"""Published besides the cards: boards and organizations. Where cards are strictly on record, boards are when they are
shown, and organizations are not at all."""

from board.models import Board, Organization

from livegate.gateway.publications import publish
from livegate.permissions import is_authenticated
from livegate.serializers.settings import setting

from .boards import BoardSerializer, OrganizationSerializer

publish(
    Board,
    BoardSerializer,
    to=is_authenticated,
    watch=["name"],
    record="showings" if setting("LEDGER") == "strict" else None,
)
publish(Organization, OrganizationSerializer, to=is_authenticated, watch=["name"], record="off")
