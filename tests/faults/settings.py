"""The example site's settings, without its debugging, and with what the environment says of livegate's."""

import json
import os

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS, LIVEGATE

INSTALLED_APPS = [*INSTALLED_APPS, "faults"]
DEBUG = False
ROOT_URLCONF = "faults.urls"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LIVEGATE = {**LIVEGATE, "LEDGER": "off", **json.loads(os.environ.get("LIVEGATE", "{}"))}
