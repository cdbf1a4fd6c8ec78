"""Pages of a list that is not counted to its end."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from ledgers import kept, made

from livegate.gateway.audit import pages
from livegate.gateway.audit.models import LedgerEntry
from livegate.gateway.audit.pages import CappedPaginator


@pytest.mark.django_db
@pytest.mark.parametrize(("rows", "count", "has_more"), [(0, 0, False), (3, 3, False), (4, 3, True), (9, 3, True)])
def test_so_many_are_counted_and_no_more(monkeypatch, rows, count, has_more):
    monkeypatch.setattr(pages, "MOST", 3)
    kept(*(made() for _ in range(rows)))
    paginator = CappedPaginator(LedgerEntry.objects.order_by("-at"), 2)

    with CaptureQueriesContext(connection) as asked:
        assert (paginator.count, paginator.has_more) == (count, has_more)

    assert len(asked) == 1
    assert "LIMIT 4" in asked[0]["sql"]
    assert paginator.num_pages == (count + 1) // 2 or count == 0
