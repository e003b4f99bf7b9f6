"""The flows of PureCallerID lists, by whether a load whose answer was lost is safe to send again."""

from __future__ import annotations

from tests.flows.conftest import flow_file

OLDER = "2026-11-19"


def append(unique: bool = False, **changes):
    return flow_file(mode="APPEND", **({"unique_column": "uniqueId"} if unique else {}), **changes)


def ringcx(dedupe: str = "RING_REMOVE_FROM_LIST", **changes):
    return flow_file("ringcx", dedupe=dedupe, **changes)


def dialer(flow):
    return flow["dialer"]
