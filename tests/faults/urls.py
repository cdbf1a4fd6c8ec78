from config.urls import urlpatterns as of_the_site
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from .boards import BoardViewSet

router = SimpleRouter()
router.register("boards", BoardViewSet)

urlpatterns = [*of_the_site, path("api/", include(router.urls))]
