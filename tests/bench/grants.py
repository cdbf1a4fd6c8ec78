"""The workload ``grants``: what it costs that the tables of grants are full of others, which concern nobody here.

As a command, ``python -m bench.grants ROWS TIMES``: measures on the database of ``DATABASE_URL``, first without ROWS
grants to users and a fifth as many to groups, then with them; prints the figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import django

from .contestants import VARIABLE
from .questions import timed

if TYPE_CHECKING:
    from .arena import Arena
    from .workloads import Figures, Sizes

# To so many users, and groups, an object is granted.
USERS_EACH, GROUPS_EACH = 10, 2
# The number of an object, and which of its grants it is, are made of ``n``, which counts the grants.
FILL = """
INSERT INTO guardian_{kind}objectpermission (object_pk, content_type_id, permission_id, {kind}_id)
SELECT 'other ' || (n / {each}), %s, %s, %s + (n / {each} * 37 + n %% {each} * 101) %% %s
FROM (
    WITH RECURSIVE counted (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n + 1 < %s) SELECT n FROM counted
) AS counted
WHERE TRUE ON CONFLICT DO NOTHING
"""


def grants(arena: Arena, sizes: Sizes) -> Figures:
    """How long an evaluation takes, without the others and with them."""
    from .arena import command

    run = subprocess.run(
        command("grants", sizes.grants_rows, sizes.grants_times),
        env={**arena.ground.environment, VARIABLE: arena.contestant.name},
        check=True,
        stdout=subprocess.PIPE,
    )
    figures: Figures = json.loads(run.stdout)
    return figures


def measure(rows: int, times: int) -> dict[str, dict[str, float]]:
    from django.contrib.auth import get_user_model
    from guardian.models import GroupObjectPermission, UserObjectPermission

    from livegate.gateway.decisions import Pair
    from livegate.gateway.evaluation import evaluate
    from livegate.gateway.publications import find
    from livegate.permissions.viewers import Viewer

    from .models import Card
    from .population import COMMON

    publication = find("bench.Card")
    users = get_user_model().objects.filter(username__startswith="viewer").order_by("pk")[:1_000]
    viewers = [Viewer(user, "en-us", "UTC", "http", "127.0.0.1") for user in users]
    first, *common = [card.hashid for card in (Card.objects.earliest("pk"), *Card.objects.order_by("-pk")[:COMMON])]
    cases = {
        "three viewers of a card": [Pair(viewer, publication, first) for viewer in viewers[:3]],
        "1,000 viewers of a card": [Pair(viewer, publication, first) for viewer in viewers],
        "1,000 viewers of 100 cards": [
            Pair(viewer, publication, common[number % COMMON]) for number, viewer in enumerate(viewers)
        ],
    }

    def took() -> dict[str, float]:
        return {case: timed(lambda pairs=pairs: evaluate(pairs), times)["median_ms"] for case, pairs in cases.items()}

    tables = (UserObjectPermission, GroupObjectPermission)
    others = [table.objects.filter(object_pk__startswith="other ") for table in tables]
    tidy()
    without = took()
    try:
        fill("user", rows, USERS_EACH)
        fill("group", rows // 5, GROUPS_EACH)
        tidy()
        within = took()
        counted = [found.count() for found in others]
    finally:
        for found in others:
            found._raw_delete("default")
    return {
        case: {
            "without_ms": without[case],
            "within_ms": within[case],
            "by_without": within[case] / without[case],
            "grants_to_users": counted[0],
            "grants_to_groups": counted[1],
        }
        for case in cases
    }


def fill(kind: str, rows: int, each: int) -> None:
    """So many grants of the right to view to users, or groups, each on an object that does not exist."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group, Permission
    from django.db import connection

    holders = get_user_model().objects.filter(username__startswith="viewer") if kind == "user" else Group.objects.all()
    permission = Permission.objects.get(codename="view_card", content_type__app_label="bench")
    given = [permission.content_type_id, permission.pk, holders.earliest("pk").pk, holders.count(), rows]
    with connection.cursor() as cursor:
        cursor.execute(FILL.format(kind=kind, each=each), given)


def tidy() -> None:
    """As the database does by itself, sooner or later."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "VACUUM")


if __name__ == "__main__":
    django.setup()
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
