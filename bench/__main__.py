"""`python -m bench`: our ledger and its peers on one server, in interleaved rounds.

Prints a table and writes bench/out/results.json. The ratios are what matters: both sides of each
come from the same run on the same machine, medians over the rounds.
"""

import argparse
import os
import platform
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from bench import report, server
from bench.measure import Sample
from bench.peers import environment
from bench.plan import STAGES, Measurement, Row, audit, make_fixtures, make_rows

CALM_FSYNC_US = 1_000


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (default 3)")
    parser.add_argument("--seconds", type=float, default=3, help="per measurement (default 3)")
    parser.add_argument(
        "--growth", type=int, default=5_000_000, help="postings of the large ledger"
    )
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="NAME", help="rows whose name contains a NAME"
    )
    parser.add_argument("--quick", action="store_true", help="1 round of 1 s, 100,000 postings")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.growth = 1, 1, 100_000
    return arguments


def choose_rows(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    chosen = [row for row in rows if any(name.lower() in row.name.lower() for name in names)]
    if not chosen:
        raise SystemExit(f"No row has any of {', '.join(names)} in its name.")
    return chosen


def measure(rows: Sequence[Row], arguments: argparse.Namespace) -> dict[str, list[Sample]]:
    """Run everything that the rows need, stage by stage."""
    wanted = {key for row in rows for key in (row.ours, row.peer)}
    samples: dict[str, list[Sample]] = {}
    with server.start() as running:
        print(describe_machine(running), flush=True)
        for stage in STAGES:
            chosen = {key: found for key, found in stage.items() if key in wanted}
            fixtures = {measurement.fixture: None for measurement in chosen.values()}
            prepare(running, fixtures, arguments.growth)
            samples |= run_rounds(running, chosen, arguments)
            for line in audit(running, fixtures):
                print(f"audit of {line}", end="", flush=True)
    return samples


def prepare(running: server.Server, fixtures: Iterable[str], growth: int) -> None:
    recipes = make_fixtures(growth)
    for fixture in fixtures:
        begin = time.perf_counter()
        recipes[fixture](running)
        print(f"prepared {fixture} in {time.perf_counter() - begin:.0f} s", flush=True)


def run_rounds(
    running: server.Server, chosen: Mapping[str, Measurement], arguments: argparse.Namespace
) -> dict[str, list[Sample]]:
    """Run every measurement once per round, so that all meet the same weather."""
    samples = defaultdict(list)
    for number in range(1, arguments.rounds + 1):
        for key, measurement in chosen.items():
            sample = run_calmly(measurement, running, arguments.seconds)
            samples[key].append(sample)
            print(f"round {number}  {key:20} {describe(sample)}", flush=True)
    return samples


def run_calmly(measurement: Measurement, running: server.Server, seconds: float) -> Sample:
    """Run once more if the disk was throttled; return the sample of the calmer moment."""
    first = measurement.run(running, seconds)
    if first.fsync_us < CALM_FSYNC_US:
        return first
    return min(first, measurement.run(running, seconds), key=attrgetter("fsync_us"))


def describe_machine(running: server.Server) -> str:
    version = running.execute("postgres", "SHOW server_version")[0][0]
    settings = ", ".join(f"{name}={value}" for name, value in server.SETTINGS.items())
    load = os.getloadavg()[0]
    return (
        f"PostgreSQL {version} over TCP ({settings}); Python {platform.python_version()}; "
        f"{os.cpu_count()} CPUs, load {load:.1f}"
    )


def describe(sample: Sample) -> str:
    return (
        f"{sample.rate:>9,.0f}/s  p50 {sample.p50_ms:7.3f}  p99 {sample.p99_ms:7.3f} ms  "
        f"CPU PG {sample.server_us:6,.0f} + client {sample.client_us:6,.0f} µs  "
        f"WAL {sample.wal_per_op:6,.0f} B  fs50 {sample.fsync_us:5,.0f} µs"
    )


def main() -> None:
    arguments = parse_arguments()
    rows = choose_rows(make_rows(arguments.growth), arguments.only)
    environment.ensure()
    samples = measure(rows, arguments)
    timing = f"median of {arguments.rounds} interleaved rounds of {arguments.seconds:g} s"
    results = [report.evaluate(row, samples, timing) for row in rows]
    report.write(results, server.OUT / "results.json")
    print()
    report.print_table(results)


if __name__ == "__main__":
    main()
