"""The routes of the WebSocket side, for a ``URLRouter``."""

from __future__ import annotations

from django.urls import path

from .consumers import NotificationConsumer

websocket_urlpatterns = [path("ws/notifications/", NotificationConsumer.as_asgi())]
