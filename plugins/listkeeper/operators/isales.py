"""iSales: write a plan's workbooks, bring them to the file server, have them imported, and find out what was taken."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException

from include.flow_files import IsalesFlow
from include.guards import Refusal
from include.vendors import isales
from include.vendors.errors import RequestRefusedError, UnexpectedAnswerError, VendorError
from listkeeper.operators.delivery import PlanLoadOperator
from listkeeper.operators.run import SendOperator, run_folder, telling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from include.callfiles.loop import Importer
    from include.callfiles.stage import CallFile
    from include.ledger import Batch, Ledger, Load
    from include.vendors.isales_tasks import ImportTask
    from listkeeper.hooks.isales import IsalesHook

CLAIM_MARGIN = timedelta(minutes=30)
"""How much longer than its outcome a load may hold its campaign: time to upload, and to be tried again."""

STEM_CHARS = 40
"""Characters of the flow's name in a file's name, which the vendor limits."""


def campaign_refusals(hook: IsalesHook, flow: IsalesFlow) -> list[Refusal]:
    """What the vendor says against filling the flow's campaign: there is none, it is finished, or it calls already."""
    try:
        status = hook.campaign_status(vdn_id=flow.vdn_id, campaign=flow.campaign)
    except isales.ImportRefusedError as error:
        if error.code == isales.NO_CAMPAIGN:
            return [Refusal("no_list", str(error))]
        status = None
    except (RequestRefusedError, UnexpectedAnswerError):
        status = None
    if status == isales.FINISHED:
        why = "The campaign is finished: it takes no numbers any more. Name one that is not in `campaign`."
        return [Refusal("no_list", why)]
    if flow.when_live == "allow" or status not in (isales.STARTED, None):
        return []
    why = (
        "iSales does not tell whether the campaign is started"
        if status is None
        else "The campaign is started"
    )
    return [
        Refusal(
            "live_list",
            f"{why}: new numbers would be called at once. Pause the campaign, or write `when_live: allow` into the "
            "flow file if that is meant.",
        )
    ]


class PlanImportOperator(PlanLoadOperator):
    """Plan an import: what PlanLoadOperator does, with a question to the vendor: is the campaign there, and calling?"""

    flow: IsalesFlow

    def refusals(self) -> list[Refusal]:
        from listkeeper.hooks.isales import IsalesHook

        with closing(IsalesHook(self.flow.connection)) as hook:
            return campaign_refusals(hook, self.flow)


class ImportCallsOperator(SendOperator):
    """
    Import a plan into an iSales campaign, in workbooks, and wait (deferred) for the outcome.

    Workbooks and uploads may be made again; an import is asked for once. After a crash or a lost answer the newest
    import tasks tell whether the request arrived. Returns the vendor's counts, summed over the files.

    :param planned: what PlanLoadOperator returned. (templated)
    """

    flow: IsalesFlow

    def send(self, context: Context) -> dict[str, Any]:
        from listkeeper.hooks.isales import IsalesHook

        ledger, load = self._open()
        others = [other for other in ledger.unresolved(load.target) if other.id != load.id]
        if others:
            self._stop(f"Load {others[0].id} to this campaign is not settled; nothing was sent.")
        files = self._stage(context, ledger, load)
        with closing(IsalesHook(self.flow.connection)) as hook:
            importer = self._importer(context, ledger, load, files, hook)
            importer.begin()
            self._require_campaign(ledger, importer, hook)
            self._send(context, importer)
            if not self._look(importer, give_up=False):
                self._wait(importer)
            return self._go_on(context, ledger, load, importer)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on when the trigger fired; what happened is asked of the vendor, not read from the event."""
        from listkeeper.hooks.isales import IsalesHook

        with telling(context):
            if not event or event.get("status") not in ("ended", "deadline"):
                self._stop("The trigger ended without saying why. Clear this task to look again.")
            ledger, load = self._open()
            files = self._stage(context, ledger, load)
            with closing(IsalesHook(self.flow.connection)) as hook:
                importer = self._importer(context, ledger, load, files, hook)
                self._look(importer, give_up=True)
                return self._go_on(context, ledger, load, importer)

    def _go_on(self, context: Context, ledger: Ledger, load: Load, importer: Importer) -> dict[str, Any]:
        """Everything that was asked for has ended: send what waited for that, or end the load."""
        while importer.unsent:
            self._send(context, importer)
            if not self._look(importer, give_up=False):
                self._wait(importer)
        return self._finish(context, ledger, load, importer)

    def _send(self, context: Context, importer: Importer) -> None:
        from include.ledger import MayNotWriteError

        if not importer.unsent:
            return
        try:
            with run_folder(context, "workbooks").reading("*.xlsx") as paths:
                importer.send(_Server(self.flow), {path.name: path for path in paths})
        except (MayNotWriteError, ValueError) as error:
            self._stop(f"Nothing more was sent. {error}")

    def _require_campaign(self, ledger: Ledger, importer: Importer, hook: IsalesHook) -> None:
        """Ask again right before the first file: a campaign may have been started since the plan."""
        if any(batch.attempts for batch in importer.batches):
            return
        for refusal in campaign_refusals(hook, self.flow):
            if not self.approved_past(ledger, refusal.guard):
                self._stop(f"Nothing was sent. {refusal.text}")

    def _open(self) -> tuple[Ledger, Load]:
        from listkeeper.hooks.ledger import open_ledger

        ledger = open_ledger()
        return ledger, ledger.load(self.planned["load"])

    def _stage(self, context: Context, ledger: Ledger, load: Load) -> list[CallFile]:
        """Write the workbooks of the plan, unless that is done, and plan a batch for each."""
        from include.callfiles.stage import batch_plans, stage_payload
        from include.canary import planned
        from include.plan import PAYLOAD, PLAN, check_plan
        from include.staging import RunFolder

        with RunFolder(self.planned["plan"]).reading() as found:
            paths = {path.name: path for path in found}
            plan = json.loads(paths[PLAN].read_text())
            check_plan(plan, paths[PAYLOAD], self.planned["hash"])
            # The load's id makes the names unguessable, and those of another run others.
            stem = f"{self.flow.name[:STEM_CHARS]}-{load.night or 'full'}-{load.id}"
            files = stage_payload(
                paths[PAYLOAD],
                plan["payload_sha256"],
                run_folder(context, "workbooks"),
                stem,
                self.flow.max_records,
                planned(plan),
            )
        ledger.plan_batches(load.id, batch_plans(files, plan["payload_sha256"]))
        return files

    def _importer(
        self, context: Context, ledger: Ledger, load: Load, files: Sequence[CallFile], hook: IsalesHook
    ) -> Importer:
        from include.callfiles.loop import Importer, Rules

        now = datetime.now(UTC)
        wait = self.flow.due(now) - now + timedelta(hours=self.flow.outcome_hours)
        return Importer(
            ledger,
            load.id,
            files,
            _Campaign(hook, self.flow),
            Rules(
                claim=wait + CLAIM_MARGIN,
                lookup=timedelta(seconds=self.flow.lookup_seconds),
                canary=self.canary(),
            ),
            notes=run_folder(context, self.task_id),
            now=lambda: datetime.now(UTC),
        )

    def _look(self, importer: Importer, *, give_up: bool) -> bool:
        try:
            return importer.look(give_up=give_up)
        except VendorError as error:
            if error.again:
                raise
            self._stop(f"The outcome cannot be asked for. {error}")

    def _wait(self, importer: Importer) -> None:
        from listkeeper.triggers.isales import ImportTasksTrigger

        asked = max(batch.intended_at for batch in importer.batches if batch.intended_at is not None)
        deadline = self.flow.due(asked) + timedelta(hours=self.flow.outcome_hours)
        self.defer(
            trigger=ImportTasksTrigger(
                connection=self.flow.connection,
                vdn_id=self.flow.vdn_id,
                campaign=self.flow.campaign,
                task_ids=importer.open_tasks(),
                deadline=deadline.isoformat(),
                poll_seconds=self.flow.poll_seconds,
            ),
            method_name="resume",
        )

    def _finish(self, context: Context, ledger: Ledger, load: Load, importer: Importer) -> dict[str, Any]:
        """Every file is settled: write down what stands in the campaign, and say what speaks against it."""
        batches = importer.batches
        if not any(batch.state in ("intended", "uncertain") for batch in batches):
            self._mark_applied(context, ledger, load, batches)
        if self.flow.remove_uploaded:
            importer.clean_up(_Server(self.flow))
        ledger.release_target(load.id)
        if problems := importer.problems():
            self._stop(" ".join(problems))
        counts: Counter[str] = Counter()
        for batch in batches:
            counts.update(batch.vendor_counts)
        return {"files": len(batches), **counts}

    def _mark_applied(self, context: Context, ledger: Ledger, load: Load, batches: Sequence[Batch]) -> None:
        """Remember what the campaign holds now, without the files of which it took nothing."""
        from include.applied_keys import keys_of, write_applied
        from include.callfiles.loop import nothing_taken
        from include.staging import RunFolder

        missing = nothing_taken(batches)
        if len(missing) == len(batches):
            return
        plan = applied = RunFolder(self.planned["plan"])
        if missing:
            applied = run_folder(context, "applied")
            write_applied(applied, plan.path, keys_of(plan, batches, missing))
        ledger.mark_applied(load.id, applied.path)

    @staticmethod
    def _stop(why: str) -> NoReturn:
        """End the load for good: trying again changes nothing."""
        raise AirflowFailException(why)


class _Campaign:
    """The flow's campaign, as the loop asks for it."""

    def __init__(self, hook: IsalesHook, flow: IsalesFlow) -> None:
        self._hook, self._flow = hook, flow

    def import_file(self, file_name: str) -> str:
        flow = self._flow
        return self._hook.import_file(
            vdn_id=flow.vdn_id,
            campaign=flow.campaign,
            server=flow.server,
            file_name=file_name,
            folder=flow.folder,
            import_at=flow.import_at,
        )

    def tasks(self, task_ids: Iterable[str] = ()) -> list[ImportTask]:
        return self._hook.tasks(vdn_id=self._flow.vdn_id, campaign=self._flow.campaign, task_ids=task_ids)


class _Server:
    """The flow's folder on its file server, as the loop asks for it."""

    def __init__(self, flow: IsalesFlow) -> None:
        from listkeeper.hooks.sftp import SftpUploadHook

        self._hook, self._flow = SftpUploadHook(flow.sftp_connection), flow

    def upload(self, local: Path, name: str) -> None:
        self._hook.upload(local, self._flow.remote_path(name), check=self._flow.check_upload)

    def remove(self, name: str) -> None:
        self._hook.remove(self._flow.remote_path(name))
