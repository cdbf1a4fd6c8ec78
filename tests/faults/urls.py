from config.urls import urlpatterns as of_the_site
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from .boards import BoardViewSet, OrganizationViewSet

router = SimpleRouter()
router.register("boards", BoardViewSet)
router.register("organizations", OrganizationViewSet)

urlpatterns = [*of_the_site, path("api/", include(router.urls))]
