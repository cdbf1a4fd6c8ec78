from config.urls import urlpatterns as of_the_site
from django.urls import include, path
from rest_framework.routers import SimpleRouter

from .dossiers import DossierViewSet

router = SimpleRouter()
router.register("dossiers", DossierViewSet, basename="dossier")

urlpatterns = [*of_the_site, path("api/", include(router.urls))]
