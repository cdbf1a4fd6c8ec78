"""The pages, the REST API and the admin of the example site."""

from board.views import CardViewSet, UserViewSet, front_page, reset_demo, why
from django.contrib import admin
from django.urls import include, path
from rest_framework.routers import DefaultRouter

from livegate.gateway.health import health

router = DefaultRouter()
router.register("cards", CardViewSet, basename="card")
router.register("users", UserViewSet, basename="user")

urlpatterns = [
    path("", front_page, name="front-page"),
    path("api/", include(router.urls)),
    path("demo/reset/", reset_demo, name="reset-demo"),
    path("demo/why/", why, name="why"),
    path("admin/", admin.site.urls),
    path("health/", health, name="health"),
]
