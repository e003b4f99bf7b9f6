"""PureCallerID: load a planned list into Five9 or RingCX and wait for the webhook that tells how it ended."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException

from include import canary, settings
from include.flow_files import PureCallerIdFlow
from include.scratch import scratch_folder
from include.vendors import purecallerid
from include.vendors.errors import AuthenticationError, LostAnswerError, VendorError
from listkeeper.operators.run import SendOperator, run_folder, telling

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.ledger import Batch, BatchPlan, Ledger, Load

CLAIM_MARGIN = timedelta(minutes=30)
"""How much longer than its callback a load may hold its list: time to upload, and to be tried again."""

ENDED = ("confirmed", "rejected")
"""States of a batch whose end is known."""


class LoadListOperator(SendOperator):
    """
    Send a plan to a dialer list through PureCallerID, once, and wait (deferred) for the outcome.

    One upload is one load at the vendor, so a plan is one batch; with a canary it is two, one after the other.
    The intent is written before the call. After a crash or a lost answer the load is sent again only where that
    converges (Five9 REPLACE, or APPEND with the Unique ID mapped); else it waits for the webhook and, if none comes,
    leaves the rows `uncertain`. Returns the vendor's counts.

    :param planned: what PlanLoadOperator returned. (templated)
    """

    flow: PureCallerIdFlow

    def send(self, context: Context) -> dict[str, Any]:
        from include.callbacks import collect
        from listkeeper.hooks.ledger import open_ledger

        ledger = open_ledger()
        load = ledger.load(self.planned["load"])
        relay = settings.relay_url()
        if relay is not None:  # what came after an earlier try had given up
            collect(ledger, purecallerid.VENDOR, relay)
        return self._go_on(context, ledger, load)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on when the trigger fired; what happened is read from the ledger, not from the event."""
        from listkeeper.hooks.ledger import open_ledger

        with telling(context):
            if not event or event.get("status") not in ("ended", "deadline"):
                self._stop("The trigger ended without saying why. Clear this task to look again.")
            ledger = open_ledger()
            load = ledger.load(self.planned["load"])
            for batch in ledger.batches(load.id):
                if batch.state not in ("planned", *ENDED):
                    self._end(context, ledger, load, batch.seq)
            return self._go_on(context, ledger, load)

    def _go_on(self, context: Context, ledger: Ledger, load: Load) -> dict[str, Any]:
        """Send what was not sent yet, batch after batch, and return the counts of the last one."""
        counts: dict[str, Any] = {}
        seq, first = 1, self.canary()
        while seq == 1 or seq <= len(canary.free(first, ledger.batches(load.id))):
            if self._outcome(ledger, load, seq) is None:
                self._send_if_needed(ledger, load, seq)
            if self._outcome(ledger, load, seq) is None and not self._batch(ledger, load, seq).settled:
                self._defer(ledger, load, seq)
            counts = self._end(context, ledger, load, seq)
            seq += 1
        ledger.release_target(load.id)
        if why := canary.problem(first, ledger.batches(load.id)):
            self._stop(why)
        return counts

    def _file_name(self, ledger: Ledger, load: Load, seq: int) -> str:
        """The name under which the vendor knows the file, unguessable, so that a webhook can be told to be ours.

        It ends in the number of the attempt: where a batch is sent again, only the end of the last attempt tells what
        is on the list.
        """
        batches = ledger.batches(load.id)
        attempt = batches[seq - 1].attempts if batches else 0
        part = "" if seq == 1 else f"-{seq}"
        return f"{self.flow.name}-{load.night or 'full'}-{load.id}{part}-{attempt}.csv"

    def _outcome(self, ledger: Ledger, load: Load, seq: int) -> purecallerid.ListLoad | None:
        from listkeeper.triggers.callbacks import purecallerid_outcome

        flow, name = self.flow, self._file_name(ledger, load, seq)
        return purecallerid_outcome(ledger, load.id, flow.campaign, flow.list, name, seq)

    def _batch(self, ledger: Ledger, load: Load, seq: int) -> Batch:
        return ledger.batches(load.id)[seq - 1]

    # Sending

    def _send_if_needed(self, ledger: Ledger, load: Load, seq: int) -> None:
        from include.csv_parts import write_part
        from include.plan import PAYLOAD, PLAN, check_plan
        from include.staging import RunFolder

        with RunFolder(self.planned["plan"]).reading() as files:
            paths = {path.name: path for path in files}
            plan = json.loads(paths[PLAN].read_text())
            check_plan(plan, paths[PAYLOAD], self.planned["hash"])
            ledger.plan_batches(load.id, _batch_plans(plan))
            batches = ledger.batches(load.id)
            batch = batches[seq - 1]
            if batch.state in (*ENDED, "accepted"):
                return
            if batch.state != "planned" and not self.flow.safe_to_resend:
                self.log.warning(
                    "An earlier try may have sent this load; it is not sent again, only waited for."
                )
                return
            if len(batches) == 1:
                self._send(ledger, load, seq, paths[PAYLOAD])
                return
            with scratch_folder() as folder:
                before, part = sum(other.rows for other in batches[: seq - 1]), folder / PAYLOAD
                write_part(paths[PAYLOAD], part, before, None if seq == len(batches) else batch.rows)
                self._send(ledger, load, seq, part)

    def _send(self, ledger: Ledger, load: Load, seq: int, payload: Path) -> None:
        from include.callbacks import callback_address
        from include.ledger import OlderSourceError, TargetPausedError
        from listkeeper.hooks.purecallerid import PureCallerIdHook

        flow = self.flow
        others = [] if flow.safe_to_resend else [o for o in ledger.unresolved(load.target) if o.id != load.id]
        if others:
            self._stop(f"Load {others[0].id} to this list is not settled; nothing was sent.")
        with payload.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file))
        with closing(PureCallerIdHook(flow.connection)) as hook:
            try:
                # What can go wrong on our side goes wrong before the intent: after it the rows count as perhaps sent.
                hook.session()
                callbacks = callback_address(purecallerid.VENDOR, allow_http=hook.allows_http_webhook())
                mapped = purecallerid.mapping(header, flow.targets)
                ledger.claim_target(load.id, timedelta(hours=flow.callback_hours) + CLAIM_MARGIN)
                token = ledger.intend(load.id, seq, again=flow.safe_to_resend)
            except (AuthenticationError, OlderSourceError, TargetPausedError, ValueError) as error:
                self._stop(f"This try sent nothing. {error}")
            request = purecallerid.process_request(
                dialer=flow.dialer,
                mode=flow.mode,
                dialer_list=flow.list,
                mapped=mapped,
                dedupe=flow.dedupe,
                webhook_url=None if callbacks is None else f"{callbacks}/{token}",
            )
            try:
                answer = hook.load_list(
                    campaign=flow.campaign,
                    csv=payload,
                    file_name=self._file_name(ledger, load, seq),
                    process_request=request,
                )
            except LostAnswerError as error:
                taken = error.http_status is not None and error.http_status < 300
                if flow.safe_to_resend and not taken:
                    raise
                self.log.warning("%s It is not sent again; the webhook must tell.", error)
                return
            except VendorError as error:
                # None of these left anything at the vendor.
                ledger.withdraw(load.id, seq, str(error))
                if not error.again:
                    self._stop(str(error))
                raise
        ledger.accept(load.id, seq, answer.id, {"status": answer.status, "metrics": answer.metrics.__dict__})
        self.log.info("PureCallerID took the load as %s (%s).", answer.id, answer.status)

    @staticmethod
    def _stop(why: str) -> NoReturn:
        """End the load for good: trying again changes nothing."""
        raise AirflowFailException(why)

    # Waiting and ending

    def _defer(self, ledger: Ledger, load: Load, seq: int) -> None:
        from listkeeper.triggers.callbacks import PureCallerIdTrigger

        if settings.public_url() is None:
            return
        flow = self.flow
        since = self._batch(ledger, load, seq).intended_at or datetime.now(UTC)
        self.defer(
            trigger=PureCallerIdTrigger(
                load=load.id,
                deadline=(since + timedelta(hours=flow.callback_hours)).isoformat(),
                campaign=flow.campaign,
                dialer_list=flow.list,
                file_name=self._file_name(ledger, load, seq),
                seq=seq,
            ),
            method_name="resume",
        )

    def _end(self, context: Context, ledger: Ledger, load: Load, seq: int) -> dict[str, Any]:
        """Settle a batch by what the vendor said; a bad end, or an unknown one, lets the list go and ends the load."""
        batch = self._batch(ledger, load, seq)
        ended = self._outcome(ledger, load, seq)
        final = batch.state in ENDED
        if final and (ended is None or batch.vendor_counts != ended.metrics.__dict__):
            self.log.info("A person has resolved this load as %s.", batch.state)
            return {"resolved": batch.state}
        if ended is None:
            self._unknown(ledger, load, batch)
        outcome = purecallerid.judge(ended, batch.rows, self.flow.min_valid_share)
        sure = outcome.uncertain == 0
        bad_canary = seq == 1 and outcome.problem is not None and self.canary() is not None
        good = not batch.rows or (outcome.delivered and not bad_canary)
        ledger.settle(
            load.id,
            seq,
            "uncertain" if not sure else "confirmed" if good else "rejected",
            delivered=outcome.delivered,
            rejected=outcome.rejected,
            uncertain=outcome.uncertain,
            vendor_counts=ended.metrics.__dict__,
            note=outcome.problem,
        )
        # A bad end is not what was planned for the list, so that the same plan may be sent again. Where that would
        # put leads there twice, what arrived is remembered all the same.
        problem = canary.problem(self.canary(), ledger.batches(load.id)) or outcome.problem
        if sure and (problem is None or (outcome.delivered and not self.flow.safe_to_resend)):
            self._mark_applied(context, ledger, load)
        if problem:
            ledger.release_target(load.id)
            self._stop(problem)
        self.log.info("%s: %d delivered, %d rejected.", ended.status, outcome.delivered, outcome.rejected)
        return ended.metrics.__dict__

    def _mark_applied(self, context: Context, ledger: Ledger, load: Load) -> None:
        """Remember what is on the list now: the plan, less the batches that were not sent yet.

        Nor is a batch there of which nobody knows, where sending it again does no harm.
        """
        from include.applied_keys import keys_of, write_applied
        from include.staging import RunFolder

        plan = applied = RunFolder(self.planned["plan"])
        batches, again = ledger.batches(load.id), self.flow.safe_to_resend
        open_ones = [one for one in batches if one.state == "planned" or (again and one.state not in ENDED)]
        missing = keys_of(plan, batches, [one.seq for one in open_ones])
        if len(missing):
            applied = run_folder(context, "applied")
            write_applied(applied, plan.path, missing)
        ledger.mark_applied(load.id, applied.path)

    def _unknown(self, ledger: Ledger, load: Load, batch: Batch) -> NoReturn:
        """Nobody told how it ended: settle every row as uncertain, which a late webhook or a person can undo."""
        why = (
            "No callback address is set (LISTKEEPER_PUBLIC_URL), and PureCallerID tells the outcome by webhook only"
            if settings.public_url() is None
            else f"No webhook told the outcome within {self.flow.callback_hours:g} hours"
        )
        why = f"{why}: all {batch.rows} rows are uncertain. Look at the list in the dialer, then resolve the load."
        ledger.leave_uncertain(batch, why)
        ledger.release_target(load.id)
        self._stop(canary.problem(self.canary(), ledger.batches(load.id)) or why)


def _batch_plans(plan: Mapping[str, Any]) -> list[BatchPlan]:
    """One batch, or two where a canary goes first. The payload's hash stands for the rows."""
    from include.ledger import BatchPlan

    rows, payload = plan["to_send"], plan["payload_sha256"]
    parts = canary.sizes(rows, rows or 1, canary.planned(plan))
    if len(parts) < 2:
        return [BatchPlan(1, rows, payload)]
    return [
        BatchPlan(seq, part, hashlib.sha256(f"{payload}:{seq}:{part}".encode()).hexdigest())
        for seq, part in enumerate(parts, 1)
    ]
