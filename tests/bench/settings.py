"""The example site's settings, without its debugging, for the processes of the benchmark."""

import os

from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS, LIVEGATE

INSTALLED_APPS = [*INSTALLED_APPS, "bench"]
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]

if "BENCH_KEEP_CONNECTIONS" in os.environ:
    # Django's default is to close a connection after each task, and so is its advice for ASGI.
    DATABASES["default"]["CONN_MAX_AGE"] = None

LIVEGATE = {**LIVEGATE, "LEDGER": "off"}
for name, kind in {"SWEEP_PERIOD": float, "SWEEP_RATE": int, "SLOW_CLIENT_TIMEOUT": float, "LEDGER": str}.items():
    if f"BENCH_{name}" in os.environ:
        LIVEGATE = {**LIVEGATE, name: kind(os.environ[f"BENCH_{name}"])}

# What a process logs is read at the end of a round: an error makes the round invalid.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "word": {
            "()": "logging.Formatter",
            "fmt": "LOGGED %(name)s %(event)s: %(message)s",
            "defaults": {"event": "-"},
        }
    },
    "handlers": {
        "file": {
            "class": "logging.FileHandler",
            "filename": os.environ.get("BENCH_LOG", os.devnull),
            "formatter": "word",
        }
    },
    "root": {"handlers": ["file"], "level": "ERROR"},
}
