"""livegate: every viewer's own version of a Django model instance, pushed over a WebSocket."""

__version__ = "0.1.0"
