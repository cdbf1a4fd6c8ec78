"""The canary: a sample of what is about to be shown is made again, alone, and compared."""

from __future__ import annotations

from random import random, sample
from typing import TYPE_CHECKING, Any

from django.db import Error as DatabaseFailure

from ..serializers.settings import setting
from .logs import report
from .metrics import count
from .solitude import Failed, look_alone

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .decisions import Decision, Pair
    from .publications import Publication

# The serializers, or choosers of one, for which something was about to be shown that a GET does not show.
_distrusted: list[Any] = []
# Those of which the first views were made again.
_heard: list[Any] = []


class Mismatch(Exception):
    """Something was about to be shown that this viewer's GET does not show."""


def is_trusted(publication: Publication) -> bool:
    """Whether anything may be shared that its serializer makes."""
    return not is_among(publication.serializer, _distrusted)


def sing(decisions: Mapping[Pair, Decision], publications: Iterable[Publication]) -> None:
    """Make a sample of the decisions again, in the snapshot in which they were made; of each serializer the first in
    any case, for two viewers.

    Raises Mismatch where one is another: it is logged, and what the same serializer makes is shared no more, as long as
    this process lives.
    """
    for pair in chosen_from(decisions, publications):
        count("canaries")
        try:
            alone = look_alone(pair)
        except Failed as failure:
            if isinstance(failure.__cause__, DatabaseFailure):
                raise failure.__cause__ from None  # says nothing about what was made
            alone = None
        if alone != decisions[pair]:
            count("canary_mismatches")
            _distrusted.append(pair.publication.serializer)
            report(
                "canary_mismatch",
                f"A viewer was about to be shown something else of a {pair.publication.label} than a GET shows "
                "them. Nothing that its serializer makes is shared any more: each view is made alone.",
                model=pair.publication.label,
                serializer=name_of(pair.publication.serializer),
            )
            raise Mismatch


def chosen_from(decisions: Mapping[Pair, Decision], publications: Iterable[Publication]) -> Collection[Pair]:
    share = setting("CANARY_SHARE")
    if not share:
        return []
    number = min(int(share * len(decisions) + random()), len(decisions))  # noqa: S311  # the share, on the average
    chosen = set(sample(list(decisions), number) if number else ())
    for publication in publications:
        if is_among(publication.serializer, _heard):
            continue
        shown = [pair for pair, view in decisions.items() if view and pair.publication is publication]
        if len(shown) > 1:
            _heard.append(publication.serializer)
            chosen |= {shown[0], shown[-1]}
    return chosen


def is_among(serializer: Any, serializers: list[Any]) -> bool:
    """By identity: a chooser need not be hashable, and may be equal to another."""
    return any(one is serializer for one in serializers)


def name_of(serializer: Any) -> str:
    named = serializer if hasattr(serializer, "__qualname__") else type(serializer)
    return f"{named.__module__}.{named.__qualname__}"
