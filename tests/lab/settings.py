"""The example site's settings, with an app of models that only the tests need."""

import os
import tempfile
from pathlib import Path

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "lab"]
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1", "push.example"]
ROOT_URLCONF = "lab.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGGING = {"version": 1, "disable_existing_loggers": False}

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file: threads share it as processes do, which an in-memory database only pretends to.
    DATABASES["default"]["TEST"] = {"NAME": str(Path(tempfile.gettempdir()) / f"livegate-test-{os.getpid()}.sqlite3")}
