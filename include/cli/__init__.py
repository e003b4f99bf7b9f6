"""Commands for people and scripts: `listkeeper <command>`, or `python -m include.cli <command>`.

Every command takes `--json`. Exit codes: 0 all is good, 1 something is wrong (a broken file, a plan that a guard
refuses, a broken chain, nothing found), 2 the command line is wrong. The ledger is that of
`AIRFLOW_CONN_LISTKEEPER_LEDGER`, else `.listkeeper/ledger.db`; rows are read from `LISTKEEPER_STAGING`.
"""

from __future__ import annotations

from include.cli.command_line import main, parser

__all__ = ["main", "parser"]
