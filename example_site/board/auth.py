"""Token authentication for WebSockets: a client that has no session offers the subprotocol ``token.<key>``, and is
connected for as long as that is a token.

A browser can't set an Authorization header on a WebSocket, and a token in the URL ends up in logs.
"""

from channels.db import database_sync_to_async
from channels.middleware import BaseMiddleware
from django.contrib.auth.models import AnonymousUser
from rest_framework.authtoken.models import Token

PREFIX = "token."


class TokenAuthMiddleware(BaseMiddleware):
    async def __call__(self, scope, receive, send):
        offered = [protocol for protocol in scope.get("subprotocols", []) if protocol.startswith(PREFIX)]
        if offered:  # a token that is nobody's makes nobody, not the one who is logged in besides
            key = offered[0].removeprefix(PREFIX)
            scope = {**scope, "user": await user_of(key)}
            if scope["user"].is_authenticated:
                scope["is_valid"] = Token.objects.filter(key=key).exists
        return await super().__call__(scope, receive, send)


@database_sync_to_async
def user_of(key):
    token = Token.objects.select_related("user").filter(key=key, user__is_active=True).first()
    return token.user if token else AnonymousUser()
