"""A project whose users are of the model that ``ACCOUNTS`` names, with or without guardian's anonymous user."""

import os

import dj_database_url

AUTH_USER_MODEL = os.environ["ACCOUNTS"]
ANONYMOUS_USER_NAME = os.environ["ANONYMOUS"] or None
GROUP_MODEL = "auth.Group"
if AUTH_USER_MODEL == "people.Person":
    GROUP_MODEL, GUARDIAN_GROUP_OBJ_PERMS_MODEL = "people.Team", "people.TeamPermission"

INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "channels", "guardian"]
INSTALLED_APPS += ["livegate.gateway", AUTH_USER_MODEL.partition(".")[0], "things"]
AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", "guardian.backends.ObjectPermissionBackend"]
DATABASES = {"default": dj_database_url.config(default="sqlite://:memory:")}
DATABASES["default"]["TEST"] = {"MIGRATE": False}
if "DATABASE_URL" in os.environ:  # where the other tests have a database of the usual name
    DATABASES["default"]["TEST"]["NAME"] = f"test_accounts_{os.getpid()}"
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "a text of its own, too"
LIVEGATE = {"HASHID_SALT": "a text of its own", "CANARY_SHARE": 0}  # nothing is made again, to see what differs
