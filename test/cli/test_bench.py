"""`make bench` prints our figures beside the raw limits, and beside the peers that are installed; without peers it says so."""
import os, stat, subprocess, sys

import qmt

SCRIPT = os.path.join(qmt.ROOT, "test", "bench", "bench.py")


def bench(tmp_path, *args):
    made = subprocess.run([sys.executable, SCRIPT, "--build", qmt.BUILD, "--rounds", "1", "--work", "pingpong",
                           "--peers-build", str(tmp_path / "built"), *args],
                          capture_output=True, text=True, timeout=120, env=dict(os.environ, QMT_BENCH_DIV="100"))
    assert made.returncode == 0, made.stderr
    return made.stdout


def cells(output, title):
    row = next(line for line in output.splitlines() if line.startswith(f"| {title}"))
    head = next(line for line in output.splitlines() if line.startswith("| work"))
    return dict(zip((c.strip() for c in head.split("|")), (c.strip() for c in row.split("|"))))


def test_without_peers(tmp_path):
    output = bench(tmp_path, "--peers", str(tmp_path / "none"))
    assert "no peers:" in output
    row = cells(output, "ping-pong")
    assert float(row["raw"]) > 0
    assert all(float(value) > 0 for value in row["qmt"].split(" / "))
    assert "<= 2.5 x bare queue" in row["goal"] and row["ratio"] != "-"


def test_with_a_peer(tmp_path):
    """A peer whose Makefile and compiler are there gets a column; one whose compiler is missing is named."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("make", "sh", "cp", "chmod"):
        os.symlink(subprocess.run(["sh", "-c", f"command -v {name}"], capture_output=True, text=True).stdout.strip(), tools / name)
    (tools / "go").write_text("#!/bin/sh\n")
    peer = tmp_path / "peers" / "peer.sh"
    peer.parent.mkdir()
    peer.write_text("#!/bin/sh\necho ${1}_ns 4321\n")
    (peer.parent / "Makefile").write_text("$(BUILD)/go: peer.sh\n\tcp $< $@\n\tchmod 755 $@\n")
    for path in (tools / "go", peer):
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    path, os.environ["PATH"] = os.environ["PATH"], str(tools)
    try:
        output = bench(tmp_path, "--peers", str(peer.parent))
    finally:
        os.environ["PATH"] = path
    assert "no caf: g++ is not installed" in output and "no erl: erlc is not installed" in output
    assert cells(output, "ping-pong")["go"] == "4,321 / 4,321"
