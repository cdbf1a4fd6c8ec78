"""The ASGI application: Django for HTTP, livegate for WebSockets."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_asgi_application()

from board.auth import TokenAuthMiddleware  # noqa: E402
from board.consumers import NoticeTapConsumer  # noqa: E402
from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler  # noqa: E402
from django.urls import path  # noqa: E402

from livegate.gateway.routing import websocket_urlpatterns  # noqa: E402

# For the demonstration only: whoever connects sees which objects change.
demo_urlpatterns = [path("ws/demo/notices/", NoticeTapConsumer.as_asgi())] if settings.DEBUG else []

application = ProtocolTypeRouter(
    {
        "http": ASGIStaticFilesHandler(django_application) if settings.DEBUG else django_application,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(TokenAuthMiddleware(URLRouter(websocket_urlpatterns + demo_urlpatterns)))
        ),
    }
)
