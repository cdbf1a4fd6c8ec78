"""The report: tables of a run, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .contestants import CONTESTANTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .figures import Ratio, Results, Summary


def report(results: Results, wanted: list[Ratio], databases: Sequence[str]) -> str:
    """Everything that was measured, each figure as its median and its spread over the rounds."""
    parts = [tables_of(results, workload) for workload in dict.fromkeys(one.workload for one in results.rounds)]
    parts.append(ratios_of(results, wanted, databases))
    if results.faults:
        lines = (
            f"  {one.workload}, {one.database}, {one.contestant}, round {one.number}: {one.fault}"
            for one in results.faults
        )
        parts.append("\n".join(["Rounds that do not count:", *lines]))
    return "\n\n".join(part for part in parts if part)


def tables_of(results: Results, workload: str) -> str:
    mine = [one for one in results.rounds if one.workload == workload]
    tables = []
    for database in dict.fromkeys(one.database for one in mine):
        of_database = [one for one in mine if one.database == database]
        cases = dict.fromkeys(case for one in of_database for case in one.figures)
        for case in cases:
            names = list(dict.fromkeys(name for one in of_database for name in one.figures.get(case, ())))
            rows = [["", *(name.replace("_", " ") for name in names)]]
            for contestant in sorted({one.contestant for one in of_database}, key=place_of):
                cells = [written(results.summary(workload, database, contestant, case, name)) for name in names]
                if any(cells):
                    rows.append([contestant, *cells])
            title = ", ".join(part for part in (workload, database, case) if part)
            tables.append(f"== {title}\n{aligned(rows)}")
    return "\n\n".join(tables)


def ratios_of(results: Results, wanted: list[Ratio], databases: Sequence[str]) -> str:
    rows = [["ratio", "database", "measured", "to reach", ""]]
    for ratio in wanted:
        for database in databases:
            summary = results.ratio(ratio, database)
            if summary is not None:
                sign = "<=" if ratio.at_most else ">="
                verdict = "reached" if ratio.reached(summary.median, database) else "missed"
                rows.append([ratio.key, database, written(summary), f"{sign} {ratio.goal[database]:g}", verdict])
    return "== ratios\n" + aligned(rows) if len(rows) > 1 else ""


def place_of(contestant: str) -> int:
    return list(CONTESTANTS).index(contestant)


def written(summary: Summary | None) -> str:
    if summary is None:
        return ""
    if summary.least == summary.most:
        return number(summary.median)
    return f"{number(summary.median)} ({number(summary.least)}–{number(summary.most)})"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def aligned(rows: Iterable[list[str]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
