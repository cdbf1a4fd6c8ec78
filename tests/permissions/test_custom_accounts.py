"""Rights where users and groups are of a project's own models: decided together as ``user.has_perm`` says alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parent / "custom_accounts"
# The user model, and the user who stands for the anonymous ones: '' where guardian's support of them is off.
CASES = list(product(["people.Person", "staff.Clerk"], ["AnonymousUser", ""]))


def tell(accounts: str, anonymous: str) -> dict[str, Any]:
    """What the comparison prints, in a process of its own: Django's user model can't be exchanged within one."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import django; django.setup(); import comparison; comparison.main()"],
        cwd=PROJECT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings", "ACCOUNTS": accounts, "ANONYMOUS": anonymous},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def telling() -> dict[tuple[str, str], Future[dict[str, Any]]]:
    with ThreadPoolExecutor() as pool:
        return {case: pool.submit(tell, *case) for case in CASES}


@pytest.mark.parametrize(("accounts", "anonymous"), CASES)
def test_every_decision_is_the_one_that_each_user_gets_alone(telling, accounts, anonymous):
    told = telling[accounts, anonymous].result()

    assert not told["differing"], "\n".join(told["differing"])
    assert told["compared"].keys() == {"has_perm", "~has_perm", "custom", "has_model_perm"}
    assert all(number > 450 for number in told["compared"].values())
    assert all(number / 5 < told["yes"][kind] < number / 1.5 for kind, number in told["compared"].items())
    assert bool(told["yes"]["anonymous"]) is bool(anonymous)


@pytest.mark.parametrize(("accounts", "anonymous"), CASES)
def test_two_users_cost_as_many_queries_as_forty(telling, accounts, anonymous):
    two, forty = telling[accounts, anonymous].result()["queries"]

    assert two == forty > 0
