"""The settings of livegate: one dict, ``LIVEGATE``, in the Django settings; what it leaves out stands here."""

from __future__ import annotations

from typing import Any

from django.conf import settings

DEFAULTS: dict[str, Any] = {
    # The secret that makes hashids differ from other installations'. Required; never SECRET_KEY.
    "HASHID_SALT": "",
    # Hashids are padded to this many characters.
    "HASHID_MIN_LENGTH": 5,
    # Over how many channel layer groups notices are spread. The same for all processes of an installation.
    "NOTICE_GROUPS": 1,
    # The changes of one object within so many seconds after the first lead to one more evaluation, and not to one each.
    "NOTICE_INTERVAL": 0.1,
    # Views are made, and who is connected is examined, from the database that is written to, whatever routers say.
    "READ_PRIMARY": True,
    # How many (viewer, object) pairs are evaluated at once.
    "BATCH_SIZE": 1_000,
    # Which share of all decisions is made again, alone, and compared (0 to 1).
    "CANARY_SHARE": 0.0001,
    # How many messages a client may send in a second, on average, and how many more in a row.
    "MESSAGE_RATE": 50,
    "MESSAGE_BURST": 2_000,
    # The largest frame that is read from a client, in bytes.
    "MAX_FRAME_BYTES": 16_384,
    # How many objects one socket may be subscribed to.
    "MAX_SUBSCRIPTIONS": 1_000,
    # How many sockets one user may have open in one process; who is anonymous is not counted.
    "MAX_SOCKETS_PER_USER": 100,
    # A client that takes nothing for so many seconds, when it is sent something, is closed.
    "SLOW_CLIENT_TIMEOUT": 30.0,
    # Each process calls into each notice group so often, to know that it hears it, in seconds.
    "HEARTBEAT": 1.0,
    # Everything that is watched is looked at again within so many seconds, whether a notice told of it or not.
    "SWEEP_PERIOD": 60.0,
    # How many subscriptions and sockets are looked at again in a second, in one process.
    "SWEEP_RATE": 1_000,
    # What the ledger has of publications that don't say: "off", "subscriptions", "showings" or "strict".
    "LEDGER": "off",
    # The class that keeps its entries.
    "LEDGER_SINK": "livegate.gateway.audit.sinks.DatabaseSink",
    # How long entries wait for others, to be written together, in seconds.
    "LEDGER_INTERVAL": 0.5,
    # How many entries wait at most, in one process, while they can't be written.
    "LEDGER_QUEUE": 10_000,
    # How long the channel layer may take for the notices of one group before it is tried again, in seconds.
    "SEND_TIMEOUT": 5.0,
}


def setting(name: str) -> Any:
    """The value of a livegate setting, or its default."""
    return getattr(settings, "LIVEGATE", {}).get(name, DEFAULTS[name])
