"""What stands on a list by the ledger: what was applied last, and why nothing may be written to it now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from include.flow_files import Delivery
from include.guards import Refusal
from include.ledger import Ledger, Load, Target, UnknownTargetError
from include.plan import KEYS, Before
from include.staging import RunFolder


@contextmanager
def applied_before(ledger: Ledger, flow: Delivery, night: str | None) -> Iterator[Before]:
    """What was applied to the flow's list last, its key file fetched.

    :param night: for an append: the night whose earlier loads count, None for those of any night.
    """
    applied = _applied(ledger, flow)
    if applied is None:
        yield Before()
        return
    target, load, path = applied
    replaces = flow.recipe.replaces
    last = ledger.last_sent(flow.target)
    rows = target.applied_rows if replaces else None
    plan_hash = target.applied_plan_hash if last is not None and last.id == load.id else None
    folder = RunFolder(path)
    if not (replaces or night in (None, load.night)) or not folder.exists():
        yield Before(rows=rows, plan_hash=plan_hash)
        return
    with folder.reading(KEYS) as files:
        yield Before(rows=rows, keys=files[0], plan_hash=plan_hash)


def ledger_refusals(
    ledger: Ledger, flow: Delivery, source_time: datetime, night: str | None, run_id: str
) -> list[Refusal]:
    """Refusals that only the ledger knows: an older source, a paused list, what may be on the list already.

    :param night: for an append: the night whose earlier loads count, None for those of any night.
    :param run_id: the run that plans; its own load does not stand in its way.
    """
    try:
        target = ledger.target(flow.target)
    except UnknownTargetError:
        return paused_refusals(ledger, flow.vendor, None)
    refusals = paused_refusals(ledger, flow.vendor, target)
    if target.fence_source_time is not None and source_time < target.fence_source_time:
        refusals.append(
            Refusal(
                "older_source",
                f"The list already holds leads of {target.fence_source_time.isoformat()}; these are of "
                f"{source_time.isoformat()}. Old leads never overwrite newer ones.",
            )
        )
    if flow.safe_to_resend:
        return refusals
    open_loads = [load.id for load in ledger.unresolved(flow.target) if load.run_id != run_id]
    if open_loads:
        refusals.append(
            Refusal(
                "unresolved_load",
                f"Load {open_loads[0]} to this list ended uncertain: its rows may be on the list, and sending them "
                "again would call people twice. Find out at the vendor, then run "
                f"`listkeeper resolve {open_loads[0]}`.",
            )
        )
    last = ledger.last_sent(flow.target)
    if (
        last is not None
        and last.id != target.applied_load_id
        and last.run_id != run_id
        and night in (None, last.night)
        and any(batch.delivered for batch in ledger.batches(last.id))
    ):
        refusals.append(
            Refusal(
                "unfinished_load",
                f"Load {last.id} put leads on this list, but broke off before it wrote down which: sending them again "
                f"would call people twice. Clear the load's task in its run ({last.run_id}) first; if the run is gone, "
                f"`listkeeper resolve {last.id}`.",
            )
        )
    applied = _applied(ledger, flow)
    if applied is not None and night in (None, applied[1].night) and not RunFolder(applied[2]).exists():
        refusals.append(
            Refusal(
                "keys_lost",
                f"Some of these leads went to the list before, and the folder that says which is gone ({applied[2]}). "
                "Sending all would call people twice: restore it, or wait for the next night.",
            )
        )
    return refusals


def paused_refusals(ledger: Ledger, vendor: str, target: Target | None) -> list[Refusal]:
    """Refusals of what a person has paused: this list, or everything that goes to its vendor."""
    refusals = [
        Refusal(
            "paused",
            f"Everything that goes to {vendor} is paused: nothing is sent until a person resumes it.",
        )
        for pause in ledger.paused_vendors()
        if pause.vendor == vendor
    ]
    if target is not None and target.paused:
        refusals.append(
            Refusal("paused", "The list is paused: nothing is sent to it until a person resumes it.")
        )
    return refusals


def _applied(ledger: Ledger, flow: Delivery) -> tuple[Target, Load, str] | None:
    """The flow's list, the load applied to it last, and where that load's plan lies; None before the first."""
    try:
        target = ledger.target(flow.target)
    except UnknownTargetError:
        return None
    if target.applied_load_id is None or target.applied is None:
        return None
    return target, ledger.load(target.applied_load_id), target.applied
