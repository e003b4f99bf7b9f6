"""Vicidial: select old leads, plan their archiving, and archive them after hours, over several nights if need be."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.sdk.exceptions import AirflowFailException

from include.approval import WRITES
from include.flow_files import ArchiveFlow
from include.vendors.errors import VendorError
from listkeeper.operators.run import (
    RunOperator,
    SendOperator,
    asked_action,
    refuse_unknown_params,
    run_folder,
    telling,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.archive.loop import Pause, Window
    from include.archive.selection import LeadDatabase
    from include.guards import Refusal
    from include.ledger import Ledger

BY_HOURS, ASK = "by the office hours", "ask the server"
WINDOWS = (BY_HOURS, ASK)
"""When a run may begin: by the flow's own office hours, or as soon as the server lets it."""

MEASURED_LOADS = 5
"""Earlier loads whose batches tell how long a request takes."""


class ArchiveOperator(RunOperator):
    """Base of the archive's own steps."""

    flow: ArchiveFlow

    def open_database(self, now: datetime) -> LeadDatabase | None:
        """The dialer's own database, on its own clock; None for a flow that takes a file of ids."""
        from include.archive.selection import LeadDatabase
        from listkeeper.hooks.database import database_url

        flow = self.flow
        if flow.select.database is None:
            return None
        local = now.astimezone(ZoneInfo(flow.local_zone)).replace(tzinfo=None)
        return LeadDatabase(database_url(flow.select.database), flow.select.rules, flow.keep, local)


class SelectLeadsOperator(ArchiveOperator):
    """
    Select the leads to archive, and decide whether this run may write.

    Only lead ids and the rules that picked them leave the database. What follows a backfill only plans.

    Returns `{"snapshot", "night", "source_time", "action", "requested_by", "reason", "limit", "window"}` and the counts
    of `include.archive.selection.Selected.facts`.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        with telling(context):
            return self._select(context)

    def _select(self, context: Context) -> dict[str, Any]:
        from include.archive.selection import select_leads
        from include.staging import Manifest

        dag_run, params, now = context["dag_run"], context["params"], datetime.now(UTC)
        refuse_unknown_params(dag_run, self.dag.params)
        from_backfill = dag_run.run_type == "backfill"
        action = asked_action(self.flow, params, dag_run, from_backfill=from_backfill)
        night = now.astimezone(ZoneInfo(self.flow.local_zone)).date().isoformat()
        database, out = self.open_database(now), run_folder(context, "select")
        try:
            with out.writing() as scratch:
                found = select_leads(self.flow.select, self.flow.keep, scratch, now=now, database=database)
                source_time = found.source_time or now
                out.commit(
                    scratch,
                    Manifest(
                        kind="selection",
                        rows=found.kept,
                        source_time=source_time,
                        night=night,
                        facts=found.facts(),
                    ),
                )
        finally:
            if database is not None:
                database.close()
        self.log.info(
            "%d leads picked, %d of them kept back: %s.",
            found.rows_in,
            found.rows_in - found.kept,
            found.rules,
        )
        return {
            "snapshot": out.path,
            "night": night,
            "source_time": source_time.isoformat(),
            "action": action,
            "requested_by": getattr(dag_run, "triggering_user_name", None),
            "reason": params.get("reason"),
            "limit": params.get("limit") or self.flow.limit,
            "window": params.get("window") or BY_HOURS,
            **found.facts(),
        }


class PlanArchiveOperator(ArchiveOperator):
    """
    Plan the archive: how many leads under which rule, how many fit tonight, when it ends; ask the guards.

    Returns `{"plan", "hash", "decision", "load", "to_send", "window"}`; the plan itself is in the run folder.

    :param found: what SelectLeadsOperator returned. (templated)
    """

    template_fields: Sequence[str] = ("found",)

    def __init__(self, *, found: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.found = found

    def execute(self, context: Context) -> dict[str, Any]:
        with telling(context):
            return self._plan(context)

    def _plan(self, context: Context) -> dict[str, Any]:
        from include.archive.plan import make_archive_plan
        from include.staging import Manifest, RunFolder
        from listkeeper.hooks.ledger import open_ledger

        ledger, flow, found = open_ledger(), self.flow, self.found
        source_time = datetime.fromisoformat(found["source_time"])
        out = run_folder(context, "plan")
        standing = ledger.standing_of(flow.target)
        with RunFolder(found["snapshot"]).reading("kept-*.parquet") as kept, out.writing() as scratch:
            plan = make_archive_plan(
                kept,
                scratch,
                subject={
                    "flow": flow.name,
                    "dag_id": context["dag_run"].dag_id,
                    "vendor": flow.vendor,
                    "target": flow.target,
                    "list": flow.list_name,
                    "night": found["night"],
                    "snapshot": found["snapshot"],
                },
                selected=found,
                flags=flow.flags,
                batch_size=flow.batch_size,
                canary=flow.canary,
                limit=found["limit"],
                source_time=source_time,
                action=found["action"],
                limits=flow.guards,
                approval=flow.approval,
                schedule={
                    "hours": flow.office_hours if found["window"] == BY_HOURS else None,
                    "zone": flow.local_zone,
                    "margin": timedelta(minutes=flow.stop_before_minutes),
                    "seconds": self._seconds_per_call(ledger),
                },
                extra_refusals=self._refusals(ledger, source_time),
                now=datetime.now(UTC),
            )
            out.commit(scratch, Manifest(kind="plan", rows=plan["to_send"], source_time=source_time))
        load = ledger.open_load(
            flow=flow.name,
            vendor=flow.vendor,
            dag_id=context["dag_run"].dag_id,
            run_id=context["dag_run"].run_id,
            target=flow.target,
            night=found["night"],
            source_time=source_time,
            snapshot=found["snapshot"],
            plan_hash=plan["hash"],
            mode="apply" if plan["decision"] in WRITES else "plan",
            requested_by=found["requested_by"],
            reason=found["reason"],
            rows_in=found["rows_in"],
            standing=standing,
            good_for=timedelta(hours=flow.guards.max_plan_age_hours),
            needs_approval=plan["decision"] == "ask",
        )
        told = (
            "flow",
            "target",
            "mode",
            "night",
            "source_time",
            "decision",
            "hash",
            "rows_in",
            "to_send",
            "options",
        )
        ledger.record(
            "planned",
            load.id,
            {name: plan[name] for name in told}
            | {
                "rules": plan["archive"]["rules"],
                "keep_lists": plan["archive"]["keep_lists"],
                "refused_by": [refusal["guard"] for refusal in plan["refusals"]],
                "requested_by": found["requested_by"],
                "reason": found["reason"],
            },
        )
        for refusal in plan["refusals"]:
            self.log.warning("Guard %s: %s", refusal["guard"], refusal["text"])
        self.log.info(
            "Plan %s: %s, %d leads to archive.", plan["hash"][:12], plan["decision"], plan["to_send"]
        )
        return {
            "plan": out.path,
            "hash": plan["hash"],
            "decision": plan["decision"],
            "load": load.id,
            "to_send": plan["to_send"],
            "window": found["window"],
        }

    def _seconds_per_call(self, ledger: Ledger) -> float:
        from include.archive.plan import measured_seconds

        earlier = ledger.loads(MEASURED_LOADS, flow=self.flow.name)
        batches = [batch for load in earlier for batch in ledger.batches(load.id)]
        return measured_seconds(batches, self.flow.seconds_per_call)

    def _refusals(self, ledger: Ledger, source_time: datetime) -> list[Refusal]:
        """Refusals that only the ledger knows."""
        from include.applied import paused_refusals
        from include.guards import Refusal
        from include.ledger import UnknownTargetError

        try:
            target = ledger.target(self.flow.target)
        except UnknownTargetError:
            return paused_refusals(ledger, self.flow.vendor, None)
        refusals = paused_refusals(ledger, self.flow.vendor, target)
        if target.fence_source_time is not None and source_time < target.fence_source_time:
            refusals.append(
                Refusal(
                    "older_source",
                    f"A selection of {target.fence_source_time.isoformat()} went out already; this one is of "
                    f"{source_time.isoformat()}. Select anew, or bring a newer file of ids.",
                )
            )
        return refusals


class ArchiveLeadsOperator(SendOperator, ArchiveOperator):
    """
    Archive a plan in batches, outside office hours, and wait (deferred) for the next window when one ends.

    Every batch is a checkpoint in the ledger: a run goes on at the next unsent batch, the next night as well as after
    a crash. Returns `{"archived", "not_archived", "batches"}`.

    :param planned: what PlanArchiveOperator returned. (templated)
    """

    def send(self, context: Context) -> dict[str, Any]:
        pause = self._archive()
        if pause is not None:
            self._wait(pause)
        return self._finish()

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on at the next unsent batch; what there is to do is read from the ledger, not from the event."""
        if not event or event.get("status") != "after_hours":
            raise AirflowFailException("The trigger ended without saying why. Clear this task to go on.")
        return self.execute(context)

    def _archive(self) -> Pause | None:
        """Send batches until all are settled or the window ends."""
        import polars as pl

        from include.archive.loop import Archiver, ArchiveStoppedError
        from include.archive.plan import batch_plans
        from include.ledger import OlderSourceError, TargetPausedError
        from include.plan import PLAN, SENT, check_plan
        from include.staging import RunFolder
        from include.vendors.vicidial import Flags
        from listkeeper.hooks.ledger import open_ledger
        from listkeeper.hooks.vicidial import VicidialHook

        ledger, load = open_ledger(), self.planned["load"]
        with RunFolder(self.planned["plan"]).reading() as files:
            paths = {path.name: path for path in files}
            plan = json.loads(paths[PLAN].read_text())
            check_plan(plan, paths[SENT], self.planned["hash"])
            lead_ids = pl.read_parquet(paths[SENT], columns=["lead_id"], glob=False)["lead_id"]
        options = dict(plan["options"])
        size, canary = options.pop("batch_size"), self.canary()
        options.pop("canary", None)
        ledger.plan_batches(load, batch_plans(lead_ids, size, canary))
        hook, database = VicidialHook(self.flow.connection), self.open_database(datetime.now(UTC))
        hook.session()
        archiver = Archiver(
            ledger,
            load,
            lead_ids,
            flags=Flags(**options),
            window=self._window(),
            notes=RunFolder(self.planned["plan"].removesuffix("plan") + self.task_id),
            send=hook.archive,
            now=lambda: datetime.now(UTC),
            sleep=time.sleep,
            database=database,
            canary=canary,
        )
        try:
            return archiver.run()
        except (OlderSourceError, TargetPausedError, ArchiveStoppedError) as error:
            raise AirflowFailException(f"Nothing more was sent. {error}") from None
        except VendorError as error:
            if error.again:
                raise
            raise AirflowFailException(str(error)) from None
        finally:
            hook.close()
            if database is not None:
                database.close()

    def _window(self) -> Window:
        from include.archive.loop import Window

        flow = self.flow
        return Window(
            hours=flow.office_hours if self.planned["window"] == BY_HOURS else None,
            margin=timedelta(minutes=flow.stop_before_minutes),
            recheck=timedelta(minutes=flow.recheck_minutes),
            patience=timedelta(hours=flow.patience_hours),
        )

    def _wait(self, pause: Pause) -> None:
        from listkeeper.triggers.after_hours import AfterHoursTrigger

        self.log.info("%s Waiting until %s.", pause.text, pause.until.isoformat(timespec="seconds"))
        self.defer(
            trigger=AfterHoursTrigger(not_before=pause.until.isoformat()),
            method_name="resume",
        )

    def _finish(self) -> dict[str, Any]:
        """Every batch is settled: write down what was applied, and say what speaks against it."""
        from include.archive.loop import problems
        from listkeeper.hooks.ledger import open_ledger

        ledger, load = open_ledger(), self.planned["load"]
        batches = ledger.batches(load)
        ledger.mark_applied(load, self.planned["plan"])
        ledger.release_target(load)
        if found := problems(batches):
            raise AirflowFailException(" ".join(found))
        return {
            "archived": sum(batch.delivered for batch in batches),
            "not_archived": sum(batch.rejected for batch in batches),
            "batches": len(batches),
        }
