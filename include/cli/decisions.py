"""Commands by which a person decides, or checks the ledger: `resolve`, `pause`, `resume`, `house`, `verify`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from include.cli.answers import Answer, CommandError
from include.cli.lookups import flow_of, load_named, opened_ledger, vendors
from include.flow_files import ArchiveFlow, Delivery, KeepHouse, load_flows
from include.house.days import KeepDays
from include.ledger import Ledger, Load, UnknownTargetError
from include.staging import RunFolder, run_path


def resolve(asked: argparse.Namespace) -> Answer:
    """Settle a load that ended uncertain, or that nobody ended, as a person found it at the vendor."""
    with opened_ledger() as ledger:
        load = load_named(ledger, asked.load)
        flow = flow_of(load.dag_id)
        if load.state == "open":
            _end(ledger, load, archives=isinstance(flow, ArchiveFlow), delivered=asked.delivered)
        again = not asked.delivered and flow is not None and flow.safe_to_resend
        load = ledger.resolve(
            load.id,
            delivered=asked.delivered,
            who=asked.who,
            why=asked.why,
            applied=None if again else _applied(ledger, load, delivered=asked.delivered),
        )
    counts = load.counts.to_dict() if load.counts else {}
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    text = f"Load {load.id} is {load.verdict}: {told}."
    return Answer(asdict(load), text)


def _end(ledger: Ledger, load: Load, *, archives: bool, delivered: bool) -> None:
    """End a load in the place of its own run, which was deleted and does it no more: what went out is uncertain."""
    from include.outcomes import add_up

    ledger.require_idle(load.id)
    batches = ledger.batches(load.id)
    if delivered and all(batch.state == "planned" for batch in batches):
        raise CommandError(f"Nothing of load {load.id} was sent: only --not-delivered can be true of it.")

    def folder(step: str) -> RunFolder:
        return RunFolder(run_path(load.dag_id, load.run_id, step))

    result = add_up(
        folder("outcomes"),
        rows_in=load.rows_in,
        snapshot=None,
        clean=folder("select" if archives else "clean"),
        plan=folder("plan"),
        sending=folder("archive" if archives else "load"),
        batches=batches,
        held_reason="not_sent",
    )
    ledger.finish_load(load.id, state="uncertain", counts=result.counts, verdict="uncertain")


def _applied(ledger: Ledger, load: Load, *, delivered: bool) -> str:
    """Where the keys lie of what a resolved load left on its list: its plan, less the batches that are not there."""
    from include.applied_keys import keys_of, write_applied

    plan = run_path(load.dag_id, load.run_id, "plan")
    batches = ledger.batches(load.id)
    missing = [
        batch.seq
        for batch in batches
        if batch.state == "planned"
        or (batch.state not in ("confirmed", "rejected") and not (delivered or batch.delivered))
    ]
    if not isinstance(flow_of(load.dag_id), Delivery) or not missing:
        return plan
    out = RunFolder(run_path(load.dag_id, load.run_id, "applied"))
    write_applied(out, plan, keys_of(RunFolder(plan), batches, missing))
    return out.path


def pause(asked: argparse.Namespace) -> Answer:
    """Let nothing be sent to a list, or to any list of a vendor, until a person resumes it; or resume it."""
    paused = asked.command == "pause"
    flow = flow_of(asked.target)
    key = flow.target if flow else asked.target
    with opened_ledger() as ledger:
        if whole_vendor := asked.target in vendors():
            ledger.pause_vendor(key, paused, asked.who, asked.why)
        else:
            if flow is None:
                _require_target(ledger, key)
            ledger.pause_target(key, paused, asked.who, asked.why)
        ledger.record(
            "paused" if paused else "resumed", None, {"target": key, "who": asked.who, "why": asked.why}
        )
    what = f"Everything that goes to {key}" if whole_vendor else key
    return Answer(
        {"vendor" if whole_vendor else "target": key, "paused": paused, "who": asked.who, "why": asked.why},
        f"{what} is {'paused: nothing is sent to it' if paused else 'open to loads again'}.",
    )


def _require_target(ledger: Ledger, key: str) -> None:
    """A list that nobody knows is a slip of the pen, and must not look paused."""
    try:
        ledger.target(key)
    except UnknownTargetError:
        raise CommandError(
            f"No flow, list or vendor is called {key}. `listkeeper flows` lists flows and lists; vendors: "
            f"{', '.join(sorted(vendors()))}."
        ) from None


def house(_asked: argparse.Namespace) -> Answer:
    """Show what house-keeping would remove, and what it keeps although it is old. Removes nothing."""
    from include.house.house import House
    from include.house.report import house_markdown

    good, broken = load_flows(KeepHouse)
    if broken:
        raise broken[0].error
    days = good[0].days if good else KeepDays.model_validate({})
    with opened_ledger() as ledger:
        found = House(ledger, days).plan()
    return Answer(found.to_json() | {"counts": found.count()}, house_markdown(found, days).rstrip())


def verify(asked: argparse.Namespace) -> Answer:
    """Check the evidence, and print where it ends."""
    with opened_ledger() as ledger:
        problems, head = ledger.verify(asked.head), ledger.head()
    lines = [f"record {problem.seq}: {problem.what}" for problem in problems]
    state = "is broken" if problems else "holds"
    text = "\n".join([*lines, f"The chain of {head.count} records {state}. Head: {head.count}:{head.hash}"])
    return Answer(
        {"head": f"{head.count}:{head.hash}", "problems": [asdict(problem) for problem in problems]},
        text,
        good=not problems,
    )
