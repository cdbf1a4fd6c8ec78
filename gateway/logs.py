"""What livegate logs: a sentence, and a stable word at ``extra["event"]``; never the content of an instance."""

from __future__ import annotations

import logging
import traceback
from typing import Any, Literal

Event = Literal[
    "canary_mismatch",
    "delivery_failed",
    "evaluation_failed",
    "evaluation_stuck",
    "hub_failed",
    "ledger_failed",
    "ledger_lost",
    "ledger_written",
    "notice_malformed",
    "notices_lost",
    "notices_sent",
    "notices_unsent",
    "notices_widened",
    "register_failed",
    "serializer_personal",
    "sockets_unexamined",
    "sweep_late",
    "tracing_failed",
    "viewer_denied",
]

logger = logging.getLogger("livegate")


def report(event: Event, sentence: str, error: BaseException | None = None, **facts: Any) -> None:
    """Log an error: the sentence, the kind and place of the exception, and the facts as ``extra``.

    The text of an exception and its traceback are left out: they may quote what only one viewer may see.
    """
    if error is not None:
        sentence = f"{sentence} ({where(error)})"
    logger.error(sentence, extra={"event": event, **facts})


def deny(label: str, error: BaseException) -> None:
    """Log that a viewer is shown nothing of a model, because of an error."""
    report(
        "viewer_denied",
        f"An error while deciding what a viewer sees of a {label}: they see nothing.",
        error,
        model=label,
    )


def warn(event: Event, sentence: str, **facts: Any) -> None:
    """Log what is no error yet."""
    logger.warning(sentence, extra={"event": event, **facts})


def tell(event: Event, sentence: str, **facts: Any) -> None:
    """Log what is no error, but worth knowing."""
    logger.info(sentence, extra={"event": event, **facts})


def where(error: BaseException) -> str:
    """The kind of an exception and the line that raised it: ``ValueError at fields.py:12 in to_representation``."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno} in {frames[-1].name}"
