"""The example site's settings, with the channel layer and the livegate settings that the environment says, as JSON."""

import json
import os

from config.settings import *  # noqa: F403
from config.settings import LIVEGATE
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

LIVEGATE = {**LIVEGATE, **json.loads(os.environ["LIVEGATE"])}
layer = json.loads(os.environ["CHANNEL_LAYER"])
for host in layer["CONFIG"]["hosts"]:
    host["retry"] = Retry(ExponentialBackoff(cap=1, base=0.01), 5)
CHANNEL_LAYERS = {"default": layer}
