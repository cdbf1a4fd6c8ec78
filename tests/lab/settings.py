"""The example site's settings, with an app of models that only the tests need."""

import os
import tempfile
from pathlib import Path

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS, LIVEGATE

INSTALLED_APPS = [*INSTALLED_APPS, "lab"]
# Nothing is left to chance, and what is told first is sent first.
LIVEGATE = {**LIVEGATE, "CANARY_SHARE": 0, "NOTICE_INTERVAL": 0, "SWEEP_PERIOD": 1_000_000, "LEDGER": "off"}
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1", "push.example"]
ROOT_URLCONF = "lab.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGGING = {"version": 1, "disable_existing_loggers": False}

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file: threads share it as processes do, which an in-memory database only pretends to.
    DATABASES["default"]["TEST"] = {"NAME": str(Path(tempfile.gettempdir()) / f"livegate-test-{os.getpid()}.sqlite3")}
    # What a test wrote need not outlive a power cut.
    DATABASES["default"]["OPTIONS"]["init_command"] += "; PRAGMA synchronous=OFF"
