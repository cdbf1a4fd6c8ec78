"""The notice, and how it crosses the channel layer."""

from collections import Counter

import pytest
from channels_redis.pubsub import RedisPubSubChannelLayer

from livegate.gateway.notices import (
    Bulletin,
    Notice,
    Stamp,
    group_names,
    pack,
    token_of_session,
    token_of_user,
    unpack,
)

NOTICES = [
    Notice("update", "board.Card", "7sd8f"),
    Notice("delete", "board.Card", "x"),
    Notice("access", "board.Card", "x", "of a user"),
    Notice("access"),
    Notice("logout", token="of a session"),
]


def test_what_is_packed_is_unpacked():
    bulletin = Bulletin(NOTICES, Stamp("a process", 7, 5), "an echo")

    assert unpack(pack(bulletin)) == bulletin


def test_a_message_holds_the_kind_the_label_the_hashid_and_where_it_stands_and_nothing_else():
    assert pack(Bulletin(NOTICES[:1], Stamp("a process", 7, 5))) == {
        "type": "livegate.notices",
        "notices": [["update", "board.Card", "7sd8f"]],
        "stamp": ["a process", 7, 5],
        "echo": "",
    }


WHOLE = {"type": "livegate.notices", "notices": [], "stamp": ["a process", 1, 0], "echo": ""}


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "other"},
        {"notices": None},
        {"notices": "update"},
        {"notices": [["explode", "board.Card", "7sd8f"]]},
        {"notices": [["update", "board.Card"]]},
        {"notices": [["update", "board.Card", 7]]},
        {"notices": [["access", "board.Card", "x", 7]]},
        {"notices": [["access", "board.Card", "x", "of a user", "more"]]},
        {"notices": [7]},
        {"stamp": None},
        {"stamp": ["a process", "1", 0]},
        {"stamp": ["a process", 1]},
        {"echo": 7},
    ],
)
def test_what_livegate_did_not_send_is_refused(wrong):
    assert unpack(WHOLE).notices == []

    with pytest.raises(ValueError, match="not a"):
        unpack({**WHOLE, **wrong})


@pytest.mark.parametrize(
    "message", [None, [], {}, *({key: WHOLE[key] for key in WHOLE if key != left} for left in WHOLE)]
)
def test_what_is_not_whole_is_refused(message):
    with pytest.raises(ValueError, match="not a message"):
        unpack(message)


def test_one_instance_is_always_told_in_the_same_group_and_many_are_spread_over_all(settings):
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_GROUPS": 4}

    groups = [Notice("update", "board.Card", str(number)).group for number in range(100)]

    assert set(groups) == set(group_names())
    assert Notice("update", "board.Card", "7sd8f").group == Notice("delete", "board.Card", "7sd8f").group


@pytest.mark.parametrize(
    ("hosts", "groups", "most"), [(2, 4, 2), (2, 8, 4), (3, 6, 3), (3, 12, 4), (4, 4, 1), (4, 8, 2)]
)
async def test_channels_redis_spreads_the_groups_over_several_redis(settings, hosts, groups, most):
    settings.LIVEGATE = {**settings.LIVEGATE, "NOTICE_GROUPS": groups}
    layer = RedisPubSubChannelLayer(hosts=[f"redis://{number}.example" for number in range(hosts)])._get_layer()

    used = Counter(layer._get_shard(layer._get_group_channel_name(name)).host["address"] for name in group_names())

    assert len(used) == hosts
    assert max(used.values()) == most


def test_tokens_are_the_same_in_all_processes_of_one_secret_key_and_tell_nobody_else_who_it_is(settings):
    settings.SECRET_KEY = "one"
    mine, another = token_of_user(1), token_of_user(2)
    assert mine == token_of_user("1") == token_of_user(1)
    assert len({mine, another, token_of_session("1"), token_of_session("2")}) == 4
    settings.SECRET_KEY = "another"
    assert token_of_user(1) != mine


def test_nobody_and_no_session_have_no_token():
    assert token_of_user(None) == token_of_session(None) == token_of_session("") == ""
