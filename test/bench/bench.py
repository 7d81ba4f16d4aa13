#!/usr/bin/python3
"""make bench: our figures beside the raw limits of test/bench/raw.c and beside the peers that are installed.

Every system runs in turn, round after round, so that what else the machine does hits all alike; medians are printed, and
ratios of medians of this run. A new round begins while SECONDS (default 540) are left for one; what took a peer more than
SLOW seconds in the first round is not repeated.

    python3 test/bench/bench.py [--build build] [--peers DIR] [--rounds 5] [--seconds 540] [--only qmt,go] [--work ask,spawn]

Peers are built from DIR (default ../shared/bench; caf, erlang and go, each if its compiler is there), the prototype of the
design from DIR/../reference/prototypes/actor_core. Without that folder ours are printed beside the raw limits only.
"""
import argparse
import collections
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

LOCAL = ("pingpong", "ring", "ask", "fanin", "fork", "spawn", "skynet")
RAW = {"queue": ("pingpong", "ring", "ask"), "pages": ("spawn",), "codec": ("remote",), "curve": ("remote",)}  # and whose limits they are
TIMEOUT = 90  # seconds; a run that takes longer is left out
SLOW = 6

# name, metric, unit, raw metric, goal: (text, function of figures -> ratio, must it be at most, bound)
Row = collections.namedtuple("Row", "title metric unit raw goal ratio at_most bound")


def over(metric, raw):
    return lambda fig, w: (fig("qmt", w, metric), fig("raw", "-", raw), "raw")


def against(metric, peer, qmt_first):
    return lambda fig, w: ((fig("qmt", w, metric), fig(peer, w, metric), peer) if qmt_first else
                           (fig(peer, w, metric), fig("qmt", w, metric), peer + " / qmt"))


def alone(metric):
    return lambda fig, w: (fig("qmt", w, metric), 1.0, "")


ROWS = (
    Row("ping-pong", "pingpong_ns", "ns a message", "raw_queue_ns", "<= 2.5 x bare queue", over("pingpong_ns", "raw_queue_ns"), True, 2.5),
    Row("ring of 503", "ring_ns", "ns a hop", "raw_queue_ns", "<= 3 x bare queue", over("ring_ns", "raw_queue_ns"), True, 3),
    Row("ask", "ask_ns", "ns a round trip", "raw_queue_ns", "<= 6 x bare queue", over("ask_ns", "raw_queue_ns"), True, 6),
    Row("fan-in 4 to 1", "fanin_mps", "M msg/s", None, ">= 2 x go", against("fanin_mps", "go", True), False, 2),
    Row("driver to 64", "fork_mps", "M msg/s", None, ">= 1.9 x go", against("fork_mps", "go", True), False, 1.9),
    Row("idle actor", "spawn_rss", "bytes", None, "<= 320", alone("spawn_rss"), True, 320),
    Row("spawn", "spawn_ns", "ns", "raw_pages_ns", "<= 150", alone("spawn_ns"), True, 150),
    Row("  in touched memory", "spawn_warm_ns", "ns", None, "<= 150", alone("spawn_warm_ns"), True, 150),
    Row("skynet", "skynet_ms", "ms", None, ">= 5 x faster than go", against("skynet_ms", "go", False), False, 5),
    Row("ask of a node", "remote_ask_p50_us", "us, p50", "raw_ask_p50_us", "<= 1.2 x raw CURVE", over("remote_ask_p50_us", "raw_ask_p50_us"),
        True, 1.2),
    Row("", "remote_ask_p99_us", "us, p99", "raw_ask_p99_us", "", None, True, 0),
    Row("tells to a node", "remote_tell_kmps", "k msg/s, 100 B", "raw_tell32_kmps", ">= 0.94 x raw CURVE by 32",
        over("remote_tell_kmps", "raw_tell32_kmps"), False, 0.94),
)
# Processor time does not depend on who else wants the processors: what is kept when the machine is not quiet.
CPU_ROWS = (
    ("ping-pong", "pingpong_cpu_ns", "raw_queue_ns"), ("ring of 503", "ring_cpu_ns", "raw_queue_ns"), ("ask", "ask_cpu_ns", "raw_queue_ns"),
    ("fan-in 4 to 1", "fanin_cpu_ns", None), ("driver to 64", "fork_cpu_ns", None), ("spawn", "spawn_cpu_ns", "raw_pages_ns"),
    ("  in touched memory", "spawn_warm_cpu_ns", None), ("tells to a node", "remote_tell_cpu_ns", "raw_tell32_cpu_ns"),
)


def say(text):
    print(text, flush=True)


def build_peers(where, into):
    """Returns {system: command}, and says what is missing."""
    commands = {}
    os.makedirs(into, exist_ok=True)
    if not os.path.isdir(where):
        say(f"no peers: {where} is not there; ours are printed beside the raw limits of test/bench/raw.c")
        return commands
    for name, tool, target, command in (
            ("go", "go", f"{into}/go", [f"{into}/go"]), ("caf", "g++", f"{into}/caf", [f"{into}/caf"]),
            ("erl", "erlc", f"{into}/bench.beam", [os.path.join(where, "erl", "bench.sh")])):
        if not shutil.which(tool):
            say(f"no {name}: {tool} is not installed")
            continue
        made = subprocess.run(["make", "-s", "-C", where, f"BUILD={into}", target], capture_output=True, text=True)
        if made.returncode:
            say(f"no {name}: {(made.stderr.strip().splitlines() or ['it does not build'])[-1]}")
        else:
            commands[name] = command
    prototype = os.path.join(where, "..", "reference", "prototypes", "actor_core")
    if os.path.isdir(prototype):
        core = [os.path.join(prototype, name) for name in ("bench_local.c", "actor_core.c")]
        made = subprocess.run(["gcc", "-std=gnu11", "-O2", "-w", "-pthread", "-DREMOTE", *core, os.path.join(prototype, "link_zmq.c"),
                               "-o", f"{into}/proto", "-lzmq"], capture_output=True)
        if made.returncode == 0:
            commands["proto"] = [f"{into}/proto"]
    return commands


class Bench:
    def __init__(self, args):
        self.args = args
        self.figures = collections.defaultdict(list)  # (system, workers, metric) -> values
        self.slow = set()
        self.until = time.monotonic() + args.seconds
        self.peers = args.peers_build
        self.env = dict(os.environ, ERL_BEAMS=self.peers)

    def keep(self, system, workers, output):
        for line in output.splitlines():
            words = line.split()
            try:
                self.figures[system, workers, words[0]].append(float(words[1]))
            except (IndexError, ValueError):
                pass

    def call(self, command):
        try:
            return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=TIMEOUT, env=self.env).stdout
        except subprocess.TimeoutExpired:
            return ""

    def timed(self, key, run):
        """Runs once, unless it is a peer's that was too slow before, or for which no time is left."""
        if key in self.slow or (key[0] not in ("qmt", "raw") and time.monotonic() > self.until):
            return
        began = time.monotonic()
        run()
        if key[0] not in ("qmt", "raw", "go") and time.monotonic() - began > SLOW:
            self.slow.add(key)

    def remote(self, system, command, workers):
        with subprocess.Popen(command + ["rserver", workers], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              env=self.env) as server:
            try:
                address = server.stdout.readline().strip()
                self.keep(system, workers, self.call(command + ["rclient", workers, address]) if address else "")
            finally:
                server.kill()

    def round(self, systems, workers_list):
        works = self.args.work
        for what in (raw for raw, users in RAW.items() if set(users) & set(works)):
            self.keep("raw", "-", self.call([f"{self.args.build}/bench/raw", what]))
        for workers in workers_list:
            for work in (w for w in LOCAL if w in works):
                for system, command in systems.items():
                    local = [f"{self.args.build}/bench/actors"] if system == "qmt" else command
                    self.timed((system, work, workers), lambda: self.keep(system, workers, self.call(local + [work, workers])))
            if "remote" in works:
                for system, command in systems.items():
                    far = [f"{self.args.build}/bench/remote"] if system == "qmt" else command
                    self.timed((system, "remote", workers), lambda: self.remote(system, far, workers))

    def figure(self, system, workers, metric):
        values = self.figures.get((system, workers, metric))
        return statistics.median(values) if values else None


def show(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(lines):
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for number, line in enumerate(lines):
        say("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")
        if number == 0:
            say("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def verdict(row, bench, workers):
    """The ratio of one column, with a mark when the goal is not reached."""
    if row.ratio is None:
        return "-"
    mine, other, _ = row.ratio(bench.figure, workers)
    if mine is None or not other:
        return "-"
    ratio = mine / other
    good = ratio <= row.bound if row.at_most else ratio >= row.bound
    return show(ratio) + ("" if good else " (!)")


def report(bench, systems, workers_list, rounds):
    load = os.getloadavg()[0]
    say(f"\n{rounds} round(s), medians; {' / '.join(workers_list)} worker(s); load at the end {load:.1f}"
        + ("" if load < 2.5 else ": NOT A QUIET MACHINE, only the table of processor time means something"))
    say("(!): the goal of the design is not reached in this run\n")
    others = [name for name in ("go", "caf", "erl", "proto") if name in systems]
    lines = [["work", "unit", "raw", "qmt", *others, "ratio", "goal"]]
    for row in ROWS:
        def both(system):
            values = [show(bench.figure(system, w, row.metric)) for w in workers_list]
            return "-" if set(values) == {"-"} else " / ".join(values)
        if both("qmt") == "-":
            continue
        lines.append([row.title, row.unit, show(bench.figure("raw", "-", row.raw)) if row.raw else "-", both("qmt"), *map(both, others),
                      " / ".join(verdict(row, bench, w) for w in workers_list) if row.ratio else "-", row.goal])
    table(lines)
    say("\nProcessor time of the process (of both, for tells), ns for one:\n")
    lines = [["work", "raw", *(f"qmt, {w} worker(s)" for w in workers_list), *(f"x raw, {w}" for w in workers_list)]]
    for title, metric, raw in CPU_ROWS:
        limit = bench.figure("raw", "-", raw) if raw else None
        mine = [bench.figure("qmt", w, metric) for w in workers_list]
        if any(value is not None for value in mine):
            lines.append([title, show(limit), *map(show, mine), *(show(m / limit) if m and limit else "-" for m in mine)])
    table(lines)
    metrics = ("codec_encode_ns", "codec_decode_ns", "raw_tell128_bare_kmps", "raw_tell128_bare_cpu_ns", "raw_tell32_kmps")
    if bench.figure("raw", "-", metrics[0]):
        say("\nThe codec, and tells without any encoding, 128 a frame (what libzmq with CURVE leaves to be had):\n")
        table([list(metrics), [show(bench.figure("raw", "-", m)) for m in metrics]])
    spread = []
    for w in workers_list:
        values = sorted(bench.figures.get(("qmt", w, "ask_ns"), []))
        if values:
            spread.append(f"{w} worker(s) " + " ".join(f"{v:.0f}" for v in values))
    if spread:
        say("\nask, every run, ns: " + "; ".join(spread))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--peers", default=os.environ.get("PEERS", "../shared/bench"))
    parser.add_argument("--peers-build", help="where they are built; default BUILD/bench-peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=int(os.environ.get("SECONDS_IN_ALL", "540")))
    parser.add_argument("--only", default="")
    parser.add_argument("--work", default="")
    parser.add_argument("--workers", default="1,2")
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    args.work = args.work.split(",") if args.work else [*LOCAL, "remote", "store"]
    args.peers_build = os.path.abspath(args.peers_build or f"{args.build}/bench-peers")
    began = time.monotonic()
    systems = {"qmt": None, **build_peers(os.path.abspath(args.peers), args.peers_build)}
    if args.only:
        systems = {name: command for name, command in systems.items() if name in args.only.split(",")}
    workers_list = args.workers.split(",")
    bench = Bench(args)
    # Its port mapper would otherwise be started by the first node, and outlive us.
    epmd = subprocess.Popen(["epmd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) if "erl" in systems and shutil.which("epmd") else None
    rounds = 0
    try:
        longest = 0.0
        while rounds < args.rounds and (rounds == 0 or time.monotonic() - began + longest < args.seconds):
            at = time.monotonic()
            bench.round(systems, workers_list)
            rounds += 1
            # the first one also ran what is not repeated
            longest = (time.monotonic() - at) * (0.6 if rounds == 1 and bench.slow else 1.0)
            say(f"round {rounds}: {time.monotonic() - at:.0f} s")
    finally:
        if epmd:
            epmd.kill()
            epmd.wait()
    report(bench, systems, workers_list, rounds)
    if os.path.exists(f"{args.build}/bench/store") and "store" in args.work:
        say("\nstore: durable appends against bare SQLite, and forks")
        with tempfile.TemporaryDirectory(dir=args.build) as folder:
            say(bench.call([f"{args.build}/bench/store", "--dir", folder, "--rounds", "3", "--rows", "10000"]).strip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
