"""`python -m include.sandbox --port 8900`: serve the vendors until interrupted."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Final

from include.sandbox.data import LeadFileError
from include.sandbox.server import SEED, PortTakenError, SandboxServer
from include.sandbox.suppression import write_suppression
from include.sandbox.switches import PlatformSwitches, PureCallerIdSwitches, Switches
from include.sandbox.vicidial_db import IN_MEMORY, VicidialDatabaseError
from include.sandbox.vicidial_leads import FEWEST

SFTP_AFTER: Final = 22
"""The SFTP server's port is so far above the vendors'."""


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m include.sandbox", description="The vendors on loopback; see docs/sandbox.md."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8900, help="0 takes a free one (default: 8900)")
    parser.add_argument(
        "--sftp-port",
        type=int,
        metavar="PORT",
        help=f"of the SFTP server; 0 takes a free one (default: {SFTP_AFTER} above --port; 0 with --port 0)",
    )
    parser.add_argument(
        "--leads", type=Path, metavar="FILE", help="your own leads: CSV, or a JSON list of objects"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="another seed, other dirt")
    parser.add_argument("--synthetic", type=int, metavar="N", help="N leads made on the fly, for benchmarks")
    parser.add_argument("--page-size", type=int, default=100, help="items per page of the Platform API")
    parser.add_argument("--page-delay-ms", type=float, default=0, help="milliseconds that each page takes")
    parser.add_argument(
        "--step-seconds", type=float, default=0.2, help="pause before each step of a PureCallerID load"
    )
    parser.add_argument(
        "--allow-http-webhook",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take webhooks to plain http on loopback (default: yes)",
    )
    parser.add_argument(
        "--suppression", type=Path, metavar="FILE", help="write the demo's suppression list there first"
    )
    parser.add_argument(
        "--vicidial-db",
        default=IN_MEMORY,
        metavar="URL",
        help="Vicidial's database: an SQLAlchemy URL of SQLite, MariaDB, MySQL or PostgreSQL "
        "(default: SQLite in memory)",
    )
    parser.add_argument(
        "--vicidial-leads",
        type=int,
        default=FEWEST,
        metavar="N",
        help=f"leads in vicidial_list (default: {FEWEST})",
    )
    asked = parser.parse_args()
    if asked.leads and asked.synthetic:
        parser.error("--leads and --synthetic exclude each other")
    if asked.sftp_port is None:
        asked.sftp_port = asked.port and asked.port + SFTP_AFTER
    switches = Switches(
        platform=PlatformSwitches(page_size=asked.page_size, page_delay_ms=asked.page_delay_ms),
        purecallerid=PureCallerIdSwitches(
            step_seconds=asked.step_seconds, allow_http_webhook=asked.allow_http_webhook
        ),
    )
    try:
        server = SandboxServer(
            host=asked.host,
            port=asked.port,
            leads=asked.leads,
            synthetic=asked.synthetic,
            seed=asked.seed,
            switches=switches,
            vicidial_db=asked.vicidial_db,
            vicidial_leads=asked.vicidial_leads,
            sftp_port=asked.sftp_port,
        )
    except (LeadFileError, PortTakenError, VicidialDatabaseError) as error:
        sys.exit(str(error))
    if asked.suppression:
        write_suppression(asked.suppression)
    sys.stdout.write(f"Sandbox on {server.base_url}/_sandbox\n")
    sys.stdout.flush()
    # Uvicorn ends in good order and raises the signal again: end as after Ctrl-C then, without leaving files behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server.serve()


if __name__ == "__main__":
    main()
