from config.urls import urlpatterns

__all__ = ["urlpatterns"]
