"""The example site's settings, without its debugging, and with what the environment says of livegate's, and of a ledger
in a database of its own."""

import json
import os

import dj_database_url
from config.settings import *  # noqa: F403
from config.settings import DATABASES, INSTALLED_APPS, LIVEGATE, LOGGING

INSTALLED_APPS = [*INSTALLED_APPS, "faults"]
DEBUG = False
ROOT_URLCONF = "faults.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LIVEGATE = {**LIVEGATE, "LEDGER": "off", **json.loads(os.environ.get("LIVEGATE", "{}"))}
LOGGING = {**LOGGING, "formatters": {"plain": {"format": "%(levelname)s %(name)s %(event)s: %(message)s"}}}

if "LEDGER_URL" in os.environ:
    DATABASES["ledger"] = dj_database_url.parse(os.environ["LEDGER_URL"])
    DATABASE_ROUTERS = ["faults.routers.LedgerRouter"]
