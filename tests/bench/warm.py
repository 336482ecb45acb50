"""Warm invocations: the same function behind several servers, in turns, within one run."""

import statistics

import machine
from report import Row, skipped
from subjects import Subject, load


def interleave(url_of, connections, rounds, seconds):
    """{connections: {name: [one run's figures, a round each]}}; each round takes every server once, in a new order."""
    found = {count: {name: [] for name in url_of} for count in connections}
    names = list(url_of)
    for number in range(rounds):
        for count in connections:
            for name in names[number % len(names) :] + names[: number % len(names)]:
                url, pid = url_of[name]
                found[count][name].append(load(url, count, seconds=seconds, pid=pid))
    return found


def median(runs, figure):
    return statistics.median(run[figure] for run in runs)


def ratio(ours, theirs, figure):
    """The median over the rounds of our figure by theirs."""
    return statistics.median(a[figure] / b[figure] for a, b in zip(ours, theirs))


def slices(function, found):
    return [
        [
            function,
            str(count),
            name,
            f"{median(runs, 'per_second'):,.0f}",
            f"{median(runs, 'p50_us'):,.0f} µs",
            f"{median(runs, 'p99_us'):,.0f} µs",
            f"{median(runs, 'cpu_us'):,.0f} µs",
            f"{median(runs, 'others_share') * 100:.0f} %",
        ]
        for count, by_name in found.items()
        for name, runs in by_name.items()
    ]


def compare(what, found, count, name, figure, goal=None):
    """Our figure against that of another server; the goal is a ratio: at most for latencies, at least for throughput."""
    runs = found[count]
    value = ratio(runs["warmpod"], runs[name], figure)
    higher = figure == "per_second"
    unit = "/s" if higher else " µs"
    shown = [f"{median(runs[who], figure):,.0f}{unit}" for who in ("warmpod", name)]
    goal_text = f"{'≥' if higher else '≤'} {goal}×" if goal else ""
    reached = None if goal is None else (value >= goal if higher else value <= goal)
    return Row(what, shown[0], f"{name}: {shown[1]}", f"{value:.2f}×", goal_text, reached)


def cpu(what, found, count, name):
    runs = found[count]
    shown = [f"{median(runs[who], 'cpu_us'):,.0f} µs" for who in ("warmpod", name)]
    return Row(what, shown[0], f"{name}: {shown[1]}", f"{ratio(runs['warmpod'], runs[name], 'cpu_us'):.2f}×")


def prepare(url_of, environments):
    """Starts that many environments by invocations that wait for each other, and checks answers."""
    for url, _ in url_of.values():
        load(url, environments, requests=environments, event={"hold_ms": 300})
        load(url, environments, requests=environments * 4)


def rust(url_of: dict[str, tuple[str, int]], missing, rounds, seconds):
    """Rows and slices for the Rust echo function."""
    found = interleave(url_of, [1, 8, 32], rounds, seconds)
    rows = []
    if "cargo lambda watch" in url_of:
        against = "cargo lambda watch"
        rows.append(compare("warm, Rust echo, 1 connection: p50", found, 1, against, "p50_us", 0.65))
        rows.append(compare("8 connections: throughput", found, 8, against, "per_second"))
        rows.append(compare("32 connections: throughput", found, 32, against, "per_second", 1.8))
    else:
        rows.append(skipped("warm, Rust echo, against cargo lambda watch", missing))
    rows.append(compare("warm, Rust echo, 1 connection: p50", found, 1, "limit", "p50_us", 1.2))
    rows.append(compare("8 connections: throughput", found, 8, "limit", "per_second", 0.9))
    rows.append(compare("32 connections: throughput", found, 32, "limit", "per_second", 0.9))
    rows += [cpu(f"CPU per invocation, {count}", found, count, "limit") for count in (1, 8, 32)]
    return rows, slices("Rust echo", found)


def python(ours: tuple[str, int], emulator, serverless, rounds, seconds):
    """The same for Python. `emulator` and `serverless` are running subjects, or why there is none."""
    rows, figures = [], []
    if isinstance(emulator, Subject):
        found = interleave({"warmpod": ours, emulator.name: (emulator.url, emulator.pid)}, [1], rounds, seconds)
        rows.append(compare("warm, Python echo, 1 connection: p50", found, 1, emulator.name, "p50_us", 0.6))
        figures += slices("Python echo", found)
    else:
        rows.append(skipped("warm, Python echo, against AWS's Runtime Interface Emulator", emulator))
    if isinstance(serverless, Subject):
        servers = {"warmpod": ours, serverless.name: (serverless.url, serverless.pid)}
        found = interleave(servers, [1, 8, 32], max(1, rounds // 2), seconds)
        for count in 1, 8, 32:
            what = f"warm, Python echo, {count} connection{'s' * (count > 1)}: throughput"
            rows.append(compare(what, found, count, serverless.name, "per_second", 1.0))
        figures += slices("Python echo", found)
    else:
        rows.append(skipped("warm, Python echo, against serverless-offline", serverless))
    return rows, figures


def burst(gateway, name, count):
    """Concurrent invocations of a function that has no environment yet."""
    run = load(gateway.invoke_url(name), count, requests=count)
    return Row(
        f"burst: {count} at once, no environment, one generic worker",
        f"all answered in {run['seconds'] * 1000:.0f} ms (p50 {run['p50_us'] / 1000:.0f} ms)",
        f"{machine.os.cpu_count()} cores",
    )
