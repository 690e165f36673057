"""From samples to results: medians, ratios, the table for the terminal and results.json."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.measure import Sample
from bench.plan import Row

Samples = Mapping[str, Sequence[Sample]]
Result = dict[str, Any]


def evaluate(row: Row, samples: Samples, timing: str) -> Result:
    """Return the row as results.json has it: medians over the rounds and their ratio."""
    ours = statistics.median(map(row.metric, samples[row.ours]))
    peer = statistics.median(map(row.metric, samples[row.peer])) if row.peer else None
    return {
        "name": row.name,
        "ours": ours,
        "peer": peer,
        "peer_name": row.peer_name,
        "ratio": ours / peer if peer else None,
        "target": row.target,
        "better": row.better,
        "unit": row.unit,
        "conditions": f"{row.conditions}; {timing}; {_describe_disk(row, samples)}",
    }


def _describe_disk(row: Row, samples: Samples) -> str:
    """Return fs50, the median fdatasync of 8 kB in microseconds, after each round."""
    text = "fs50 µs ours " + _join_fsyncs(samples[row.ours])
    return f"{text}, peer {_join_fsyncs(samples[row.peer])}" if row.peer else text


def _join_fsyncs(rounds: Sequence[Sample]) -> str:
    return "/".join(f"{sample.fsync_us:.0f}" for sample in rounds)


def is_met(result: Result) -> bool | None:
    """Tell whether the target is met; None where there is none."""
    if result["target"] is None:
        return None
    figure = result["ours"] if result["ratio"] is None else result["ratio"]
    return figure >= result["target"] if result["better"] == "high" else figure <= result["target"]


def write(results: Sequence[Result], path: Path) -> None:
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")


def print_table(results: Sequence[Result]) -> None:
    header = ("", "ours", "peer", "", "", "ratio", "target", "")
    lines = [header, *map(_format_cells, results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    left = {0, 3, 4, 7}
    for line in lines:
        cells = (
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


def _format_cells(result: Result) -> tuple[str, ...]:
    sign = ">=" if result["better"] == "high" else "<="
    suffix = "" if result["ratio"] is None else "x"
    met = is_met(result)
    return (
        result["name"],
        _format_number(result["ours"]),
        _format_number(result["peer"]),
        result["unit"],
        result["peer_name"] or "",
        "" if result["ratio"] is None else f"{result['ratio']:.2f}x",
        "" if met is None else f"{sign} {result['target']:g}{suffix}",
        {True: "met", False: "NOT met", None: ""}[met],
    )


def _format_number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
