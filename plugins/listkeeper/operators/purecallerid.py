"""PureCallerID: load a planned list into Five9 or RingCX and wait for the webhook that tells how it ended."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include import settings
from include.flow_files import PureCallerIdFlow
from include.vendors import purecallerid
from include.vendors.errors import LostAnswerError, RequestRefusedError, VendorError
from listkeeper.operators.delivery import DeliveryOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.ledger import Batch, Ledger, Load

SEQ = 1
"""One upload is one load at the vendor, so a plan is one batch."""

CLAIM_MARGIN = timedelta(minutes=30)
"""How much longer than its callback a load may hold its list: time to upload, and to be tried again."""


class LoadListOperator(DeliveryOperator):
    """
    Send a plan to a dialer list through PureCallerID, once, and wait (deferred) for the outcome.

    The intent is written before the call. After a crash or a lost answer the load is sent again only where that
    converges (Five9 REPLACE, or APPEND with the Unique ID mapped); else it waits for the webhook and, if none comes,
    leaves the rows `uncertain`. Returns the vendor's counts.

    :param planned: what PlanLoadOperator returned. (templated)
    """

    template_fields: Sequence[str] = ("planned",)

    def __init__(self, *, flow: PureCallerIdFlow, planned: Any, **kwargs: Any) -> None:
        super().__init__(flow=flow, **kwargs)
        self.list_flow = flow
        self.planned = planned

    def execute(self, context: Context) -> dict[str, Any]:
        from listkeeper.hooks.ledger import open_ledger

        decision = self.planned["decision"]
        if decision == "refused":
            raise AirflowFailException(
                "A guard refused the plan, so nothing was sent. The report says which and why."
            )
        if decision != "apply":
            raise AirflowSkipException(f"Nothing to send: the plan is {decision.replace('_', ' ')}.")
        ledger = open_ledger()
        load = ledger.load(self.planned["load"])
        if self._outcome(ledger, load) is None:
            self._send_if_needed(ledger, load, context)
        if self._outcome(ledger, load) is None and not self._settled(ledger, load):
            self._defer(ledger, load)
        return self._finish(ledger, load, context)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on when the trigger fired; what happened is read from the ledger, not from the event."""
        from listkeeper.hooks.ledger import open_ledger

        if not event or event.get("status") not in ("ended", "deadline"):
            raise AirflowFailException("The trigger ended without saying why. Clear this task to look again.")
        ledger = open_ledger()
        return self._finish(ledger, ledger.load(self.planned["load"]), context)

    def _file_name(self, load: Load) -> str:
        """The name under which the vendor knows the file: unguessable, so that a webhook can be told to be ours."""
        return f"{self.flow.name}-{load.night or 'full'}-{load.id}.csv"

    def _outcome(self, ledger: Ledger, load: Load) -> purecallerid.ListLoad | None:
        from listkeeper.triggers.callbacks import purecallerid_outcome

        flow = self.list_flow
        return purecallerid_outcome(ledger, load.id, flow.campaign, flow.list, self._file_name(load))

    def _batch(self, ledger: Ledger, load: Load) -> Batch:
        return ledger.batches(load.id)[0]

    def _settled(self, ledger: Ledger, load: Load) -> bool:
        return self._batch(ledger, load).settled

    # Sending

    def _send_if_needed(self, ledger: Ledger, load: Load, context: Context) -> None:
        from include.ledger import BatchPlan
        from include.plan import PAYLOAD, PLAN, check_plan
        from include.staging import RunFolder

        with RunFolder(self.planned["plan"]).reading() as files:
            paths = {path.name: path for path in files}
            plan = json.loads(paths[PLAN].read_text())
            check_plan(plan, paths[PAYLOAD], self.planned["hash"])
            ledger.plan_batches(load.id, [BatchPlan(SEQ, plan["to_send"], plan["payload_sha256"])])
            batch = self._batch(ledger, load)
            if batch.state in ("confirmed", "rejected", "accepted"):
                return
            if batch.state != "planned" and not self.flow.safe_to_resend:
                self.log.warning(
                    "An earlier try may have sent this load; it is not sent again, only waited for."
                )
                return
            self._send(ledger, load, paths[PAYLOAD], context)

    def _send(self, ledger: Ledger, load: Load, payload: Path, context: Context) -> None:
        from include.ledger import OlderSourceError, TargetPausedError
        from listkeeper.hooks.purecallerid import PureCallerIdHook

        flow = self.list_flow
        others = [] if flow.safe_to_resend else [o for o in ledger.unresolved(load.target) if o.id != load.id]
        if others:
            self._stop(context, f"Load {others[0].id} to this list is not settled; nothing was sent.")
        try:
            ledger.claim_target(load.id, timedelta(hours=flow.callback_hours) + CLAIM_MARGIN)
        except (OlderSourceError, TargetPausedError) as error:
            self._stop(context, f"Nothing was sent. {error}")
        hook = PureCallerIdHook(flow.connection)
        with payload.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file))
        token = ledger.intend(load.id, SEQ, again=flow.safe_to_resend)
        try:
            request = purecallerid.process_request(
                dialer=flow.dialer,
                mode=flow.mode,
                dialer_list=flow.list,
                mapped=purecallerid.mapping(header, [column.to for column in flow.columns]),
                dedupe=flow.dedupe,
                webhook_url=self._webhook_url(hook, token),
            )
            answer = hook.load_list(
                campaign=flow.campaign, csv=payload, file_name=self._file_name(load), process_request=request
            )
        except LostAnswerError as error:
            taken = error.http_status is not None and error.http_status < 300
            if flow.safe_to_resend and not taken:
                raise
            self.log.warning("%s It is not sent again; the webhook must tell.", error)
        except (VendorError, ValueError) as error:
            # None of these left anything at the vendor.
            ledger.withdraw(load.id, SEQ, str(error))
            if isinstance(error, RequestRefusedError):
                self._stop(context, str(error))
            raise
        else:
            ledger.accept(
                load.id, SEQ, answer.id, {"status": answer.status, "metrics": answer.metrics.__dict__}
            )
            self.log.info("PureCallerID took the load as %s (%s).", answer.id, answer.status)
        finally:
            hook.close()

    def _webhook_url(self, hook: Any, token: str) -> str | None:
        base = settings.public_url()
        if base is None:
            return None
        url = f"{base}/listkeeper/callbacks/{purecallerid.VENDOR}/{token}"
        problem = purecallerid.webhook_problem(url, allow_http=hook.allows_http_webhook())
        if problem:
            raise ValueError(problem)
        return url

    def _stop(self, context: Context, why: str) -> None:
        """End the load for good: trying again changes nothing. The reconciliation reads the reason."""
        context["ti"].xcom_push(key="stopped", value=why)
        raise AirflowFailException(why)

    # Waiting and ending

    def _defer(self, ledger: Ledger, load: Load) -> None:
        from listkeeper.triggers.callbacks import PureCallerIdTrigger

        if settings.public_url() is None:
            return
        flow = self.list_flow
        since = self._batch(ledger, load).intended_at or datetime.now(UTC)
        self.defer(
            trigger=PureCallerIdTrigger(
                load=load.id,
                deadline=(since + timedelta(hours=flow.callback_hours)).isoformat(),
                campaign=flow.campaign,
                dialer_list=flow.list,
                file_name=self._file_name(load),
            ),
            method_name="resume",
        )

    def _finish(self, ledger: Ledger, load: Load, context: Context) -> dict[str, Any]:
        """Settle the batch by what the vendor said, or as uncertain, and let the list go."""
        batch = self._batch(ledger, load)
        ended = self._outcome(ledger, load)
        if ended is None:
            return self._unknown(ledger, load, batch, context)
        outcome = purecallerid.judge(ended, batch.rows, self.list_flow.min_valid_share)
        sure = outcome.uncertain == 0
        ledger.settle(
            load.id,
            SEQ,
            "uncertain" if not sure else "confirmed" if outcome.delivered else "rejected",
            delivered=outcome.delivered,
            rejected=outcome.rejected,
            uncertain=outcome.uncertain,
            vendor_counts=ended.metrics.__dict__,
            note=outcome.problem,
        )
        if outcome.delivered and sure:
            ledger.mark_applied(load.id, self.planned["plan"])
        ledger.release_target(load.id)
        if outcome.problem:
            self._stop(context, outcome.problem)
        self.log.info("%s: %d delivered, %d rejected.", ended.status, outcome.delivered, outcome.rejected)
        return ended.metrics.__dict__

    def _unknown(self, ledger: Ledger, load: Load, batch: Batch, context: Context) -> dict[str, Any]:
        if batch.state in ("confirmed", "rejected"):  # a person resolved it
            return dict(batch.vendor_counts) or {"resolved": batch.state}
        why = (
            "No callback address is set (LISTKEEPER_PUBLIC_URL), and PureCallerID tells the outcome by webhook only"
            if settings.public_url() is None
            else f"No webhook told the outcome within {self.list_flow.callback_hours:g} hours"
        )
        why = f"{why}: all {batch.rows} rows are uncertain. Look at the list in the dialer, then resolve the load."
        ledger.settle(
            load.id,
            SEQ,
            "uncertain",
            delivered=0,
            rejected=0,
            uncertain=batch.rows,
            vendor_counts={},
            note=why,
        )
        ledger.release_target(load.id)
        self._stop(context, why)
        raise AssertionError("_stop raises")
