"""What is wrong with the messages that a client has received: every viewer must get theirs, and nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from .rights import value

VERSION = re.compile(rb'"version": ?(\d+)')
ETAG = re.compile(rb'"etag": ?"(\w+)"')
KIND = re.compile(rb'"type": ?"(\w+)"')
# Of so many messages it is told what they said, where there were too many.
SHOWN = 5


@dataclass(frozen=True)
class Expected:
    """What one socket is to receive: payloads with these ``fields``, of which the guarded ones that are ``held`` tell
    the version, and those that are ``empty`` are null; ``fixed`` are values that never change."""

    payload: str
    fields: frozenset[str]
    held: tuple[str, ...]
    empty: tuple[str, ...]
    fixed: dict[str, Any]

    def fault_of(self, text: bytes, version: int) -> str:
        """What is wrong with a message that should show a version; '' for the right one."""
        try:
            frame = json.loads(text)
            payload = frame[self.payload]
        except (ValueError, KeyError, TypeError):
            return f"no message with a {self.payload}: {text[:200]!r}"
        if not isinstance(payload, dict):
            return f"a {self.payload} that is no object: {text[:200]!r}"
        if payload.keys() != self.fields:
            return f"fields that differ from what the viewer may see: {sorted(payload.keys() ^ self.fields)}"
        wanted = {"version": version, **self.fixed, **{name: value(name, version) for name in self.held}}
        wanted |= dict.fromkeys(self.empty)
        differing = sorted(name for name, right in wanted.items() if payload[name] != right)
        return f"other values than those of version {version}: {differing}" if differing else ""


def faults_of(name: str, expected: Expected, texts: list[bytes], versions: list[int]) -> list[str]:
    """What is wrong with all that a socket has received, where it should have received exactly these versions."""
    if len(texts) != len(versions):
        came = ": " + ", ".join(map(said, texts[:SHOWN])) if texts else ""
        return [f"{name} received {len(texts)} messages instead of {len(versions)}{came}"]
    found = (expected.fault_of(text, version) for text, version in zip(texts, versions, strict=True))
    return [f"{name} received {fault}" for fault in found if fault]


def said(text: bytes) -> str:
    """What a message says, in short."""
    kind = KIND.search(text)
    version = VERSION.search(text)
    return " ".join([kind[1].decode() if kind else "nothing", *([version[1].decode()] if version else [])])


def judged(
    received: list[tuple[float, bytes]], closed_at: float | None, leaves: str, field: bytes, at: float, version: int
) -> tuple[float, str]:
    """The seconds after which something was gone that was taken at a moment, and what was wrong with that: ``leaves``
    tells whether it was the ``"field"``, the ``"object"``, the ``"socket"``, or the ``"session"``, whose user may still
    see what is written until the socket is closed; the version is the last before."""
    after = [(when, text) for when, text in received if when > at]
    views = [(when, text) for when, text in after if b'"UPDATE_' in text]
    shown = [(when, text) for when, text in views if leaves != "field" or field in text]
    if leaves in ("socket", "session"):
        ended = closed_at
    else:
        told = views if leaves == "field" else after
        ended = next((when for when, text in told if (when, text) not in shown), None)
    if leaves != "session" and any(version_of(text) > version for _, text in shown):
        return 0.0, "received what was written after it was taken: a leak"
    if ended is None:
        return 0.0, "never noticed"
    if any(when > ended for when, _ in shown):
        return 0.0, "received it again after it was gone"
    return max(ended - at, 0.0), ""  # a log out is told before it is committed


def answers_among(received: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """The answers to requests: the view that follows one may come when the next was asked already."""
    return [(at, text) for at, text in received if b'"request_id"' in text]


def version_of(text: bytes) -> int:
    found = VERSION.search(text)
    return int(found[1]) if found else -1


def etag_of(text: bytes) -> str:
    found = ETAG.search(text)
    return found[1].decode() if found else ""


def fingerprint(etag: str, payload: Any) -> str:
    """What stands for a view of an object, where it is compared in another process."""
    return f"{etag} {blake2b(json.dumps(payload, sort_keys=True).encode(), digest_size=16).hexdigest()}"
