"""Ozonetel: load a planned campaign in batches at the vendor's pace, and find out what became of every row."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from include import canary, settings
from include.flow_files import OzonetelFlow
from include.vendors import ozonetel
from include.vendors.errors import VendorError
from listkeeper.operators.delivery import PlanLoadOperator
from listkeeper.operators.run import SendOperator, run_folder

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.campaign.loop import Campaign, Pause
    from include.campaign.payload import Payload
    from include.ledger import Ledger, Load, Pace
    from include.vendors.ozonetel import Accepted, FailedRow
    from listkeeper.hooks.ozonetel import OzonetelHook

NAP = timedelta(seconds=8)
"""How long the task itself waits for a turn: a little more than the trigger wakes it early."""


class PlanCampaignOperator(PlanLoadOperator):
    """Plan a load: what PlanLoadOperator does, and how long it takes at the vendor's limit."""

    flow: OzonetelFlow

    def timing(self, rows: int) -> dict[str, Any]:
        from include.campaign.timing import timing
        from listkeeper.hooks.ledger import open_ledger
        from listkeeper.hooks.ozonetel import OzonetelHook

        now, flow = datetime.now(UTC), self.flow
        pace = OzonetelHook(flow.connection).settings.pace
        return timing(
            rows,
            flow.batch_size,
            pace,
            now,
            flow.latest_end(now),
            preflight=_needs_trial(open_ledger(), flow),
            canary=flow.canary,
        )


class LoadCampaignOperator(SendOperator):
    """
    Send a plan to a campaign in batches, five a minute, and learn from the vendor's callbacks what became of them.

    Every batch is a checkpoint in the ledger, which also keeps the pace of the account, whoever else loads. Waiting for
    a turn or for callbacks is deferred. After a crash or a lost answer a batch is sent again only where the vendor
    checks for duplicates; else its callback must tell, or its rows are `uncertain`. Returns `{"delivered", "rejected",
    "batches", "held_reason"}`.

    :param planned: what PlanLoadOperator returned. (templated)
    """

    flow: OzonetelFlow

    def send(self, context: Context) -> dict[str, Any]:
        from include.campaign.loop import CampaignStoppedError
        from include.ledger import LedgerError, TargetLockedError
        from listkeeper.hooks.ledger import open_ledger
        from listkeeper.hooks.ozonetel import OzonetelHook

        ledger = open_ledger()
        load = ledger.load(self.planned["load"])
        payload = self._payload(ledger, load)
        with closing(OzonetelHook(self.flow.connection)) as hook:
            try:
                account = _Account(hook, self.flow, payload.header)
                pause = self._campaign(context, ledger, load, payload, account).run()
            except TargetLockedError:
                raise
            except (CampaignStoppedError, LedgerError, VendorError, ValueError) as error:
                if isinstance(error, VendorError) and error.again and not _is_last_try(context):
                    raise
                self._remember(context, ledger, load, payload)
                raise AirflowFailException(str(error)) from None
        if pause is not None:
            self._wait(load, pause, account.pace, account.account)
        return self._finish(context, ledger, load, payload)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on when the trigger fired; what there is to do is read from the ledger, not from the event."""
        if not event or event.get("status") not in ("turn", "ended", "deadline"):
            raise AirflowFailException("The trigger ended without saying why. Clear this task to go on.")
        return self.execute(context)

    def _payload(self, ledger: Ledger, load: Load) -> Payload:
        """The rows of the plan, laid out as the batches that were planned at the first try."""
        from include.campaign.payload import Payload
        from include.plan import PAYLOAD, PLAN, SENT, check_plan
        from include.staging import RunFolder

        with RunFolder(self.planned["plan"]).reading() as files:
            paths = {path.name: path for path in files}
            plan = json.loads(paths[PLAN].read_text())
            check_plan(plan, paths[PAYLOAD], self.planned["hash"])
            payload = Payload(paths[PAYLOAD], paths[SENT])
        if not ledger.batches(load.id):
            preflight = _needs_trial(ledger, self.flow)
            cut = payload.cut(plan["options"]["batch_size"], preflight=preflight, canary=canary.planned(plan))
            ledger.plan_batches(load.id, cut)
        payload.lay_out([batch.rows for batch in ledger.batches(load.id)])
        return payload

    def _campaign(
        self, context: Context, ledger: Ledger, load: Load, payload: Payload, account: _Account
    ) -> Campaign:
        from include.callbacks import collect
        from include.campaign.loop import Campaign, Rules

        flow, relay = self.flow, settings.relay_url()
        answers = account.callbacks is not None
        return Campaign(
            ledger,
            load.id,
            payload,
            account,
            Rules(
                safe=flow.safe_to_resend,
                answers=answers,
                callbacks=timedelta(hours=flow.callback_hours),
                latest=flow.latest_end(load.opened_at),
                preflight=_columns(flow) if flow.preflight and answers else None,
                nap=NAP,
                canary=self.canary(),
            ),
            notes=run_folder(context, self.task_id),
            now=lambda: datetime.now(UTC),
            sleep=time.sleep,
            last_try=_is_last_try(context),
            listen=(lambda: None) if relay is None else (lambda: collect(ledger, ozonetel.VENDOR, relay)),
        )

    def _wait(self, load: Load, pause: Pause, pace: Pace, account: str) -> None:
        from listkeeper.triggers.callbacks import OzonetelTrigger
        from listkeeper.triggers.turn import TurnTrigger

        self.log.info(
            "Waiting for %s, at most until %s.", pause.kind, pause.until.isoformat(timespec="seconds")
        )
        if pause.kind == "callbacks":
            self.defer(
                trigger=OzonetelTrigger(load=load.id, deadline=pause.until.isoformat()), method_name="resume"
            )
        self.defer(
            trigger=TurnTrigger(
                account=account,
                calls=pace.calls,
                window_seconds=pace.window.total_seconds(),
                spacing_seconds=pace.spacing.total_seconds(),
            ),
            method_name="resume",
        )

    def _finish(self, context: Context, ledger: Ledger, load: Load, payload: Payload) -> dict[str, Any]:
        """Nothing is on its way any more: write down what the campaign has now, and say what speaks against it."""
        self._remember(context, ledger, load, payload)
        ledger.release_target(load.id)
        batches = ledger.batches(load.id)
        if why := canary.problem(self.canary(), batches):
            raise AirflowFailException(why)
        delivered, rejected, uncertain = (
            sum(getattr(batch, name) for batch in batches) for name in ("delivered", "rejected", "uncertain")
        )
        if uncertain:
            notes = dict.fromkeys(batch.note for batch in batches if batch.uncertain and batch.note)
            raise AirflowFailException(f"{uncertain} rows are uncertain. {' '.join(notes)}")
        unsent = [batch for batch in batches if batch.state == "planned"]
        latest = self.flow.latest_end(load.opened_at)
        if unsent and (latest is None or datetime.now(UTC) < latest):
            raise AirflowFailException(f"{len(unsent)} batches were not sent. Clear this task to go on.")
        if unsent:
            self.log.warning("The end time has come: %d batches are left for the next night.", len(unsent))
        self.log.info("%d rows delivered, %d refused, in %d batches.", delivered, rejected, len(batches))
        return {
            "delivered": delivered,
            "rejected": rejected,
            "batches": len(batches) - len(unsent),
            "held_reason": "end_time" if unsent else None,
        }

    def _remember(self, context: Context, ledger: Ledger, load: Load, payload: Payload) -> None:
        """Write down which rows stand in the campaign, so that the next plan sends the others.

        Where a repeat would add rows twice, what nobody knows of counts as there until a person has spoken.
        """
        import polars as pl

        from include.applied_keys import write_applied
        from include.campaign.outcome import not_there
        from include.outcomes import named_rows

        batches = ledger.batches(load.id)
        unknown = any(batch.state in ("intended", "accepted", "uncertain") for batch in batches)
        if not any(batch.delivered for batch in batches) or (unknown and not self.flow.safe_to_resend):
            return
        named = named_rows(run_folder(context, self.task_id))
        missing = not_there(batches, payload, named, repeats=self.flow.safe_to_resend)
        applied = run_folder(context, "applied")
        write_applied(applied, self.planned["plan"], pl.Series(missing, dtype=pl.String))
        ledger.mark_applied(load.id, applied.path)


class _Account:
    """The account behind the flow's connection, as the loop calls it."""

    def __init__(self, hook: OzonetelHook, flow: OzonetelFlow, header: Sequence[str]) -> None:
        from include.callbacks import callback_address

        hook.session()  # what is wrong with the connection goes wrong before the first intent
        self._hook, self._flow, self._header = hook, flow, header
        self.account, self.pace = hook.settings.account, hook.settings.pace
        self.callbacks = callback_address(ozonetel.VENDOR, allow_http=hook.settings.allow_http)

    def load(self, rows: Sequence[Sequence[str]], token: str, *, action: bool) -> Accepted:
        return self._hook.load(
            campaign=self._flow.campaign,
            header=self._header,
            rows=rows,
            duplicates=self._flow.duplicates,
            action=self._flow.action if action else None,
            callback_url=None if self.callbacks is None else f"{self.callbacks}/{token}",
        )

    def failed_rows(self, url: str) -> list[FailedRow]:
        return self._hook.failed_rows(url, self._header)


def _columns(flow: OzonetelFlow) -> str:
    """A hash of what must fit the campaign's mapping file."""
    return hashlib.sha256(json.dumps(flow.targets).encode()).hexdigest()


def _needs_trial(ledger: Ledger, flow: OzonetelFlow) -> bool:
    """Whether one row goes out first: nobody has seen these columns work, and somebody would tell us."""
    from include.ledger import UnknownTargetError

    if not flow.preflight or settings.public_url() is None:
        return False
    try:
        return ledger.target(flow.target).proven != _columns(flow)
    except UnknownTargetError:
        return True


def _is_last_try(context: Context) -> bool:
    ti = context["ti"]
    return ti.try_number > (ti.max_tries or 0)
