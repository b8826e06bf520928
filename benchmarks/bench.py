"""The benchmark behind `make bench`: CPU per streamed token, delays and memory, against a bare relay in the same run.

    python benchmarks/bench.py [--streams 1,50,200,1000] [--rounds 3] [--burst] [--target URL --target-pid PID]

Everything shares one machine, so only ratios within one run mean something: each round measures every target, in
turning order, and the table shows medians. What is counted is the CPU time that the kernel gave to the server's
processes; wall time would count the neighbours too. Linux only: it comes from /proc and the processes' CPU clocks.
"""

import argparse
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import resources
import targets
from targets import BenchmarkError, Target

LOAD = Path(__file__).resolve().parent / "load.py"
STREAM_TIMEOUT = 60.0
SETTLE = 0.2  # s: what a server does after the last byte, such as writing the chat to its database, counts too
LATENCY_ANSWERS = 30


@dataclass(frozen=True)
class Measurement:
    """One target under one load. CPU in µs per streamed token, memory in MiB, times in ms."""

    target: str
    streams: int
    report: dict[str, Any]
    cpu: float | None
    rss_before: float | None
    rss_peak: float | None


def run_load(arguments: Sequence[str], pid: int | None = None) -> tuple[dict[str, Any], float]:
    """The load generator's report, and the most memory seen meanwhile."""
    command = [sys.executable, str(LOAD), *arguments, "--timeout", str(STREAM_TIMEOUT)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE)
    peak, deadline = 0.0, time.monotonic() + 2 * STREAM_TIMEOUT
    try:
        while running.poll() is None and time.monotonic() < deadline:
            peak = max(peak, resources.rss_mib(pid)) if pid else 0.0
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(0.5)
        if running.returncode != 0:
            raise BenchmarkError(f"the load generator ended with {running.returncode}")
        written, _ = running.communicate(timeout=5)
        return json.loads(written), peak
    finally:
        running.kill()
        running.wait(5)


def measure(target: Target, streams: int, options: argparse.Namespace) -> Measurement:
    before = resources.rss_mib(target.pid) if target.pid else None
    cpu = resources.cpu_seconds(target.pid) if target.pid else 0.0
    load = [target.url, "--streams", str(streams), "--tokens", str(options.tokens), "--question", question(options)]
    report, peak = run_load(load, target.pid)
    time.sleep(SETTLE)
    per_token = None
    if target.pid and report["tokens"]:
        per_token = (resources.cpu_seconds(target.pid) - cpu) / report["tokens"] * 1e6
    return Measurement(target.name, streams, report, per_token, before, peak if target.pid else None)


def question(options: argparse.Namespace) -> str:
    if options.burst:
        return f"/count {options.tokens} | /burst"
    return f"/count {options.tokens}" + (f" | /pace {round(1000 / options.rate)}" if options.rate else "")


def measure_all(servers: Sequence[Target], options: argparse.Namespace) -> list[Measurement]:
    """Every level in rounds; the order turns, so that no target always follows the same one."""
    done: list[Measurement] = []
    for streams in options.streams:
        for turn in range(options.rounds):
            start = turn % len(servers)
            for target in [*servers[start:], *servers[:start]]:
                progress(f"{streams} streams, round {turn + 1} of {options.rounds}: {target.name}")
                done.append(measure(target, streams, options))
    return done


def first_token_ms(url: str, *flags: str) -> float:
    """Median over answers asked one after the other, without pacing."""
    load = [url, "--sequential", "--streams", str(LATENCY_ANSWERS), "--tokens", "5", "--question", "/count 5", *flags]
    report, _ = run_load(load)
    if report["failed"]:
        raise BenchmarkError(f"{url} failed: {report['failures']}")
    return report["first_ms"]["p50"]


def latency_table(upstream: str, servers: Sequence[Target]) -> list[str]:
    """First-token times at one stream, with what each target adds to asking the model endpoint itself."""
    lines = ["| one stream | first token, ms | added, ms |", "|---|---|---|"]
    direct = first_token_ms(f"{upstream}/chat/completions", "--openai")
    lines.append(f"| model endpoint itself | {direct:.2f} | |")
    for target in servers:
        if target.obeys:
            progress(f"first token of {target.name}")
            first = first_token_ms(target.url)
            lines.append(f"| {target.name} | {first:.2f} | {first - direct:.2f} |")
    return lines


def load_table(measurements: Sequence[Measurement], baseline: str) -> list[str]:
    lines = [
        "| target | streams | completed | CPU µs/token | × relay | first p50 | first p99 | gap p50 | gap p99 | gap max"
        " | RSS MiB before → peak |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for streams, name in dict.fromkeys((one.streams, one.target) for one in measurements):
        rounds = [one for one in measurements if (one.streams, one.target) == (streams, name)]
        relay = [one for one in measurements if (one.streams, one.target) == (streams, baseline)]
        lines.append(load_row(rounds, relay))
    return lines


def load_row(rounds: Sequence[Measurement], relay: Sequence[Measurement]) -> str:
    reports = [one.report for one in rounds]
    ratios = [mine.cpu / bare.cpu for mine, bare in zip(rounds, relay, strict=True) if mine.cpu and bare.cpu]
    completed, asked = (sum(report[key] for report in reports) for key in ("completed", "streams"))
    times = [
        f"{median(report[kind][part] for report in reports):.1f}"
        for kind, part in (
            ("first_ms", "p50"), ("first_ms", "p99"), ("gap_ms", "p50"), ("gap_ms", "p99"), ("gap_ms", "max")
        )
    ]  # fmt: skip
    memory = [[one.rss_before for one in rounds], [one.rss_peak for one in rounds]]
    cells = [
        rounds[0].target,
        f"{rounds[0].streams:,}",
        f"{completed:,} of {asked:,}",
        middle([one.cpu for one in rounds], ".1f"),
        middle(ratios, ".2f"),
        *times,
        " → ".join(middle(values, ".0f") for values in memory),
    ]
    return f"| {' | '.join(cells)} |"


def middle(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return format(median(known), form) if known else "?"


def failures(measurements: Sequence[Measurement]) -> list[str]:
    return [
        f"- {one.target} at {one.streams} streams: {count} × {reason}"
        for one in measurements
        for reason, count in one.report["failures"].items()
    ]


def progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def given_targets(options: argparse.Namespace) -> list[Target]:
    pids = [*options.target_pid, *[None] * len(options.target)]
    return [Target(urlsplit(url).netloc, url, pid) for url, pid in zip(options.target, pids, strict=False)]


def start_headrace(stack: contextlib.ExitStack, folder: Path, upstream: str, starts: int) -> tuple[Target, float]:
    """The last of several starts stays up; the time is their median."""
    seconds: list[float] = []
    for _ in range(starts - 1):
        with targets.headrace(folder, upstream) as (_, taken):
            seconds.append(taken)
    target, taken = stack.enter_context(targets.headrace(folder, upstream))
    return target, median([*seconds, taken])


def bench(options: argparse.Namespace) -> bool:
    """Print the tables; true if every stream was complete."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headrace-bench-")))
        upstream = stack.enter_context(targets.model_endpoint(folder, options.upstream_port))
        relay = stack.enter_context(targets.relay(folder, upstream))
        servers, started = [relay], None
        if shutil.which("nginx"):
            servers.append(stack.enter_context(targets.nginx(folder, upstream, question(options))))
        if not options.without_headrace:
            progress("start Headrace")
            target, started = start_headrace(stack, folder, upstream, options.starts)
            servers.append(target)
        servers += given_targets(options)
        latency = latency_table(upstream, servers)
        measurements = measure_all(servers, options)
    failed = failures(measurements)
    pace = (
        "in one burst" if options.burst else f"at {options.rate:g} tokens/s" if options.rate else "as fast as it goes"
    )
    lines = [
        f"Answers of {options.tokens} tokens {pace}; medians of {options.rounds} round(s); times in ms; Linux only.",
        "",
        *load_table(measurements, relay.name),
        "",
        *latency,
        *([] if started is None else ["", f"Headrace: {started:.2f} s from its start to the first complete answer."]),
        *(["", "Failures:", *failed] if failed else []),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return not failed


def levels(text: str) -> list[int]:
    return [int(level) for level in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU per streamed token, delays and memory, against a bare relay.")
    parser.add_argument("--streams", type=levels, default=[1, 50, 200, 1000], help="levels, with commas between")
    parser.add_argument("--rounds", type=int, default=1, help="the tables show medians over these")
    parser.add_argument("--tokens", type=int, default=150, help="tokens in an answer")
    parser.add_argument("--rate", type=float, default=50.0, help="tokens per second and stream; 0 does not wait")
    parser.add_argument("--burst", action="store_true", help="the model writes each answer in one go")
    parser.add_argument("--starts", type=int, default=3, help="how often to measure the start of Headrace")
    parser.add_argument("--upstream-port", type=int, default=0, help="of the model endpoint, for what --target asks")
    parser.add_argument("--target", action="append", default=[], metavar="URL", help="one more prediction URL")
    parser.add_argument("--target-pid", action="append", default=[], type=int, help="whose CPU counts for --target")
    parser.add_argument("--without-headrace", action="store_true", help="measure only the relay and the --target URLs")
    return parser.parse_args()


def interrupted(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> None:
    options = arguments()
    if not sys.platform.startswith("linux"):
        raise SystemExit("The benchmark reads CPU times from /proc, which only Linux has.")
    signal.signal(signal.SIGTERM, interrupted)  # so that what was started is stopped
    try:
        complete = bench(options)
    except BenchmarkError as error:
        raise SystemExit(str(error)) from error
    raise SystemExit(0 if complete else 1)


if __name__ == "__main__":
    main()
