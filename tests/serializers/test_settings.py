"""The settings: one dict, and defaults for what it leaves out."""

from __future__ import annotations

import pytest

from livegate.serializers.settings import DEFAULTS, setting


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_the_settings_leave_out_has_its_default(settings, name):
    settings.LIVEGATE = {}
    assert setting(name) == DEFAULTS[name]

    del settings.LIVEGATE
    assert setting(name) == DEFAULTS[name]


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_the_settings_say_counts(settings, name):
    settings.LIVEGATE = {name: 0}

    assert setting(name) == 0


def test_a_setting_that_does_not_exist_is_an_error():
    with pytest.raises(KeyError, match="HASHID_SLAT"):
        setting("HASHID_SLAT")
