"""Measure the upload: our hook and the sftp provider's own against OpenSSH's client, at loopback and on a slow line.

`python tests/bench/sftp.py [--mb N] [--rtt-ms N] [--rounds N] [--json]`; ends with 1 when a target is missed. The
server is OpenSSH's own, from Debian's packages. Every run is a fresh process that uploads the same bytes, deflated as
those of a workbook are; the sides take turns. Ours is measured with the check by size, as the others do it, and with
the check of the content, which reads the file back.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.measuring import ROOT, Figure, Runs, child, median, peak_mb, run_bench


def cpu_seconds() -> float:
    """Processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(work: Any) -> dict[str, float]:
    """Time, processor time and memory of a piece of work, logging in included."""
    base, cpu, start = peak_mb(), cpu_seconds(), time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - start, "cpu": cpu_seconds() - cpu, "base_mb": base}


def ours(local: str, remote: str, check: str) -> dict[str, float]:
    """Upload by our hook: temporary name, check, rename."""
    from listkeeper.hooks.sftp import SftpUploadHook

    return measured(lambda: SftpUploadHook("isales_sftp").upload(Path(local), remote, check=check))  # type: ignore[arg-type]


def provider(local: str, remote: str) -> dict[str, float]:
    """Upload by the provider's hook as it comes."""
    from airflow.providers.sftp.hooks.sftp import SFTPHook

    return measured(lambda: SFTPHook("isales_sftp").store_file(remote, local))


def binary(local: str, remote: str, options: list[str], port: int) -> dict[str, float]:
    """Upload by OpenSSH's client."""
    command = ["sftp", "-q", "-b", "-", *options, "-P", str(port), f"{getpass.getuser()}@127.0.0.1"]
    script = f"put {local} {remote}\n"
    start = time.perf_counter()
    subprocess.run(command, input=script, stdout=subprocess.DEVNULL, text=True, check=True)
    return {"seconds": time.perf_counter() - start}


@contextlib.contextmanager
def openssh(folder: Path) -> Iterator[int]:
    """OpenSSH's server on a free port; yields it."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    server, keygen = (shutil.which(name, path=path) for name in ("sshd", "ssh-keygen"))
    if server is None or keygen is None:
        raise SystemExit("there is no OpenSSH server here: apt-get install openssh-server openssh-client")
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / name], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder / 'host'}\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {folder / 'user.pub'}\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    process = subprocess.Popen([server, "-D", "-f", folder / "config"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def slow_line(port: int, rtt_ms: float) -> Iterator[int]:
    """A port that leads to another one with a delay."""
    command = [sys.executable, str(ROOT / "tests/bench/lib/delay.py"), str(port), str(rtt_ms)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def measure(mb: int, rtt_ms: float, rounds: int) -> list[Figure]:
    """Return the figures."""
    sides = ("ours", "ours, content checked", "provider", "binary")
    runs: Runs = {f"{side} {line}": [] for side in sides for line in ("fast", "slow")}
    with (
        tempfile.TemporaryDirectory() as scratch,
        openssh(Path(scratch)) as port,
        slow_line(port, rtt_ms) as slow,
    ):
        folder = Path(scratch)
        local, far = folder / "workbook.xlsx", folder / "far"
        local.write_bytes(os.urandom(mb * 1_000_000))
        far.mkdir()
        kind, key = (folder / "host.pub").read_text().split()[:2]
        known = folder / "known_hosts"
        known.write_text("".join(f"[127.0.0.1]:{each} {kind} {key}\n" for each in (port, slow)))
        options = [
            "-i",
            str(folder / "user"),
            "-o",
            f"UserKnownHostsFile={known}",
            "-o",
            "StrictHostKeyChecking=yes",
        ]
        for _ in range(rounds):
            for line, at in (("fast", port), ("slow", slow)):
                connection = {
                    "conn_type": "sftp",
                    "host": "127.0.0.1",
                    "port": at,
                    "login": getpass.getuser(),
                    "extra": {
                        "key_file": str(folder / "user"),
                        "host_key": f"{kind} {key}",
                        "look_for_keys": False,
                    },
                }
                environment = {
                    "AIRFLOW_HOME": f"{scratch}/airflow",
                    "AIRFLOW_CONN_ISALES_SFTP": json.dumps(connection),
                }
                for side in sides:
                    name, _, checked = side.partition(", ")
                    more: dict[str, Any] = {}
                    if name == "ours":
                        more = {"check": "hash" if checked else "size"}
                    elif name == "binary":
                        more = {"options": options, "port": at}
                    remote = far / "there.xlsx"
                    figures = child(__file__, name, environment, local=str(local), remote=str(remote), **more)
                    runs[f"{side} {line}"].append(figures)
                    if remote.read_bytes() != local.read_bytes():
                        raise SystemExit(f"{side} brought something else")
                    remote.unlink()
    seconds = {name: median(runs, name, "seconds") for name in runs}
    memory = median(runs, "ours fast", "peak_mb") - median(runs, "ours fast", "base_mb")
    per_50 = 50 / mb
    return [
        Figure(
            f"time: ours / sftp client, {rtt_ms:g} ms",
            seconds["ours slow"] / seconds["binary slow"],
            at_most=1.2,
        ),
        Figure("CPU: ours, s per 50 MB", median(runs, "ours fast", "cpu") * per_50, at_most=0.5),
        Figure("memory: ours, MB over base", memory, at_most=20),
        Figure("time: ours / sftp client, loopback", seconds["ours fast"] / seconds["binary fast"]),
        Figure(
            "time: provider as it comes / sftp client, loopback",
            seconds["provider fast"] / seconds["binary fast"],
        ),
        Figure("CPU: provider as it comes, s per 50 MB", median(runs, "provider fast", "cpu") * per_50),
        Figure(
            f"time: provider as it comes / sftp client, {rtt_ms:g} ms",
            seconds["provider slow"] / seconds["binary slow"],
        ),
        Figure(
            f"time: ours with content checked / sftp client, {rtt_ms:g} ms",
            seconds["ours, content checked slow"] / seconds["binary slow"],
        ),
        Figure(f"time: ours, {mb} MB, {rtt_ms:g} ms, s", seconds["ours slow"]),
    ]


if __name__ == "__main__":
    sides = {"ours": ours, "provider": provider, "binary": binary}
    sys.exit(run_bench("Upload over SFTP", __doc__, sides, measure, mb=50, rtt_ms=50.0))
