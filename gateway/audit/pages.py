"""Pages of a list that is not counted to its end."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator

if TYPE_CHECKING:
    Base = Paginator[Any]
else:
    Base = Paginator

# How many entries can be paged through. To count a million takes longer than to show a page of them.
MOST = 1_000


class CappedPaginator(Base):
    """The first ``MOST`` of a list; ``has_more`` says whether there are others."""

    @cached_property
    def counted(self) -> int:
        # Ordered as the page is, so that the same index answers both.
        entries: Any = self.object_list
        return int(entries.values("pk")[: MOST + 1].count())

    @property
    def count(self) -> int:
        return min(self.counted, MOST)

    @property
    def has_more(self) -> bool:
        return self.counted > MOST
