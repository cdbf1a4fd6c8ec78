"""The notice, and how it crosses the channel layer."""

import pytest

from livegate.gateway.notices import Notice, group_names, pack, unpack

NOTICES = [Notice("update", "board.Card", "7sd8f"), Notice("delete", "board.Card", "x")]


def test_what_is_packed_is_unpacked():
    assert unpack(pack(NOTICES)) == NOTICES


def test_a_message_holds_the_kind_the_label_the_hashid_and_nothing_else():
    assert pack(NOTICES[:1]) == {"type": "livegate.notices", "notices": [["update", "board.Card", "7sd8f"]], "echo": ""}


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "other", "notices": []},
        {"type": "livegate.notices"},
        {"type": "livegate.notices", "notices": "update"},
        {"type": "livegate.notices", "notices": [["explode", "board.Card", "7sd8f"]]},
        {"type": "livegate.notices", "notices": [["update", "board.Card"]]},
        {"type": "livegate.notices", "notices": [["update", "board.Card", 7]]},
        {"type": "livegate.notices", "notices": [7]},
    ],
)
def test_what_livegate_did_not_send_is_refused(message):
    with pytest.raises(ValueError, match="not a"):
        unpack(message)


def test_one_instance_is_always_told_in_the_same_group_and_many_are_spread_over_all(settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_GROUPS": 4}

    groups = [Notice("update", "board.Card", str(number)).group for number in range(100)]

    assert set(groups) == set(group_names())
    assert Notice("update", "board.Card", "7sd8f").group == Notice("delete", "board.Card", "7sd8f").group
