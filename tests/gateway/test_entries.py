"""The entries: their words."""

from __future__ import annotations

import pytest

from livegate.gateway import entries


@pytest.mark.parametrize(
    ("causes", "written"),
    [
        (0, ""),
        (entries.CHANGE, "change"),
        (entries.SWEEP | entries.RIGHTS, "rights+sweep"),
        (entries.REQUEST | entries.RESUME | entries.LOSS | entries.RETRY, "request+resume+loss+retry"),
    ],
)
def test_causes_are_written_as_words(causes, written):
    assert entries.words(causes) == written
