"""The command: ``scripts/bench [workload …] [--json FILE]``, and how a run goes."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import randrange
from typing import TYPE_CHECKING

import servers

from .arena import Invalid, apart, arena, cores, ground
from .contestants import CONTESTANTS
from .figures import Results, Round, as_json, ratios
from .plan import DATABASES, IF_NAMED, Plan
from .report import place_of, report
from .workloads import WORKLOADS, Sizes, measure

if TYPE_CHECKING:
    from .arena import Ground
    from .plan import Turn
    from .workloads import Figures


def run(plan: Plan, *, keep_connections: bool) -> Results:
    """All rounds: in each of them every contestant has its turn, on each database that it reads."""
    results = Results()
    cards = plan.sizes.spread if "spread" in plan.workloads else 0
    with contextlib.ExitStack() as stack:
        core = stack.enter_context(cores())
        redis_url = stack.enter_context(servers.redis())
        options = {"viewers": plan.sizes.viewers, "cards": cards, "keep_connections": keep_connections}
        grounds = {
            database: stack.enter_context(ground(database, redis_url, core, **options))
            for database in plan.all_databases
        }
        for turn in plan.turns():
            results.rounds += take(turn, grounds[turn.database])
    return results


def take(turn: Turn, place: Ground) -> list[Round]:
    """Let contestants have their turn, each with a broker of its own."""
    # In an idle time there is a sweep, which else comes once in a minute. It is kept out of single events, to which it
    # would be reckoned by chance.
    periods = {"idle": turn.sizes.idle_seconds, "fan-out": servers.NO_SWEEP}
    settings = {"BENCH_SWEEP_PERIOD": str(periods[turn.workload])} if turn.workload in periods else {}
    names = [contestant.name for contestant in turn.contestants]
    figures: list[Figures] = [{} for _ in names]
    fault = ""
    started = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            arenas = []
            for contestant in turn.contestants:
                own = stack.enter_context(apart(place, settings))
                arenas.append(stack.enter_context(arena(contestant, own)))
            figures = measure(turn.workload, arenas, turn.sizes)
    except Invalid as invalid:
        fault = str(invalid)
    said = f"round {turn.number}: {fault or 'valid'} ({time.monotonic() - started:.0f} s)"
    print(turn.workload, turn.database, " | ".join(names), said, sep=", ", file=sys.stderr)
    return [
        Round(turn.workload, turn.database, name, turn.number, found, fault)
        for name, found in zip(names, figures, strict=True)
    ]


def main(arguments: list[str]) -> int:
    """Run what was asked for and print it. Gives 0 if of everything at least one round counts, else 1."""
    options = read(arguments)
    sizes = replace(Sizes(), seed=options.seed)
    if options.sockets:
        sockets = tuple(sorted(options.sockets))
        sizes = replace(sizes, fan_out=sockets, sizing=sockets, ledger_sockets=sockets[-1])
    if options.seconds:
        sizes = replace(sizes, soak_seconds=options.seconds)
    plan = Plan(
        options.workloads or [name for name in WORKLOADS if name not in IF_NAMED],
        options.rounds,
        sizes,
        options.databases,
        options.contestants,
        options.sockets,
    )
    results = run(plan, keep_connections=options.keep_connections)
    wanted = ratios(sizes)
    print(report(results, wanted, plan.all_databases))
    if options.json:
        found = as_json(results, wanted, plan.all_databases, place_of)
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")
    return 1 if results.failed() else 0


def read(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure livegate beside its alternatives.")
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="workload",
        help=f"of {', '.join(WORKLOADS)}; default: all but {', '.join(IF_NAMED)}",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--sockets", type=int, nargs="+", help="of the fan-out, the sizing and the ledger")
    parser.add_argument("--seconds", type=float, help="of the soak; default: 600")
    parser.add_argument("--seed", type=int, default=randrange(10**6), help="of what happens at random")
    parser.add_argument("--databases", nargs="+", choices=DATABASES)
    parser.add_argument("--contestants", nargs="+", choices=list(CONTESTANTS))
    parser.add_argument(
        "--keep-connections", action="store_true", help="keep database connections (CONN_MAX_AGE), in all contestants"
    )
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.workloads if name not in WORKLOADS]:
        parser.error(f"no such workload: {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    return options


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended, too
    sys.exit(main(sys.argv[1:]))
