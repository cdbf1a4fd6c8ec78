"""What is wrong with the messages that a client has received: every viewer must get theirs, and nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .rights import value


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
        return [f"{name} received {len(texts)} messages instead of {len(versions)}"]
    found = (expected.fault_of(text, version) for text, version in zip(texts, versions, strict=True))
    return [f"{name} received {fault}" for fault in found if fault]
