"""Who may see what: the rights of the numbered viewers on the numbered cards, as plain functions.

They fill the database, and the clients check by them what they receive.
"""

from __future__ import annotations

# Fields that everybody sees who may see a card.
PLAIN = (
    "id",
    "version",
    "title",
    "summary",
    "status",
    "priority",
    "price",
    "weight",
    "public",
    "due",
    "created",
)
# Fields that the guards of three audiences are about.
GUARDED = ("salary", "notes")
# Fields by which every viewer's view differs: one for each binary digit of the viewer's number.
SECRETS = tuple(f"secret_{digit}" for digit in range(13))

OWNER, SUPERUSER = 0, 1  # of the first card; the superuser of all
VIEWERS_PER_CARD = 3
TEAMS = 20


def way(viewer: int) -> str:
    """How a viewer comes to their rights on the first card."""
    if viewer == OWNER:
        return "owner"
    if viewer == SUPERUSER:
        return "superuser"
    return ("direct", "group", "mixed")[viewer % 3]


def level(viewer: int) -> int:
    """How many of the guarded fields of the first card a viewer was granted: half of them none, a third one."""
    return (0, 1, 0, 0, 1, 2)[viewer // 3 % 6]


def digits(viewer: int) -> list[int]:
    """The binary digits of the viewer's number that are set: their secrets on the first card."""
    return [digit for digit in range(len(SECRETS)) if viewer >> digit & 1]


def guarded_seen(viewer: int, card: int) -> tuple[str, ...]:
    """The guarded fields that a viewer may see on a card that they may see."""
    if viewer == SUPERUSER:
        return GUARDED
    if card == 0:
        return GUARDED if viewer == OWNER else GUARDED[: level(viewer)]
    # The first viewer of every other card owns it, the second was granted one field, the third is in a team.
    return (GUARDED, GUARDED[:1], ())[viewer % VIEWERS_PER_CARD]


def secrets_seen(viewer: int, card: int) -> tuple[str, ...]:
    if viewer == SUPERUSER:
        return SECRETS
    return tuple(SECRETS[digit] for digit in digits(viewer)) if card == 0 else ()


def viewers_of(card: int) -> range:
    """The viewers of a card other than the first, which all may see."""
    return range((card - 1) * VIEWERS_PER_CARD, card * VIEWERS_PER_CARD)


def username(viewer: int) -> str:
    return f"viewer{viewer}"


def value(field: str, version: int) -> int | str:
    """What a guarded field holds in a version of a card."""
    if field == "notes":
        return f"Notes of version {version}, not for everybody"
    return version * 100 + (*GUARDED, *SECRETS).index(field)


def seen(shows: str, viewer: int, card: int) -> dict[str, list[str]]:
    """What a payload must hold for a viewer: ``fields``, its names; ``held``, those of them with a guarded value;
    ``empty``, those that must be null."""
    if shows == "distinct":
        held = secrets_seen(viewer, card)
        return {"fields": [*PLAIN, *held], "held": [*held], "empty": []}
    if shows == "guarded":
        held = guarded_seen(viewer, card)
        return {"fields": [*PLAIN, *held], "held": [*held], "empty": []}
    if shows == "personal":
        held = guarded_seen(viewer, card)
        empty = [name for name in GUARDED if name not in held]
        return {"fields": [*PLAIN, *GUARDED, "viewer"], "held": [*held], "empty": empty}
    return {"fields": [*PLAIN, *GUARDED], "held": [*GUARDED], "empty": []}
