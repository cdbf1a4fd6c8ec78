from board.models import Board

from livegate.gateway.publications import publish
from livegate.permissions import is_authenticated

from .boards import BoardSerializer

publish(Board, BoardSerializer, to=is_authenticated, watch=["name"])
