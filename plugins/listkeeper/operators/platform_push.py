"""Platform API: push planned leads to a list, and find out by name which of them arrived."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from include import canary
from include.flow_files import PlatformPushFlow, Recipe
from include.guards import Refusal
from listkeeper.operators.delivery import PlanLoadOperator
from listkeeper.operators.run import SendOperator, run_folder

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.ledger import Ledger
    from include.push.loop import Wait
    from include.push.rows import Rows
    from include.staging import RunFolder
    from listkeeper.hooks.platform import PlatformHook

LIST = "list.json"
"""Note of the list that a push began to fill; a list that is renamed meanwhile is still the same."""


def is_live(hook: PlatformHook, list_id: int, campaign: int) -> bool:
    """Whether leads of a list are called as soon as they arrive: it is loaded in the dialler, its campaign active.

    Only a plain `false` says that they are not: an answer that leaves it open is a person's business too.
    """
    if hook.get_list(list_id).get("inDialler") is False:
        return False
    return hook.outbound_statistics(campaign).get("isActive") is not False


class PlanPushOperator(PlanLoadOperator):
    """
    Plan a push: what PlanLoadOperator does, with two questions to the vendor.

    A list that is being dialled is a guard's business (`when_live`); a lead that is assigned to somebody who is no
    active agent is rejected.
    """

    flow: PlatformPushFlow

    def recipe(self) -> Recipe:
        from listkeeper.hooks.platform import PlatformHook

        if not self.flow.assigns_agents:
            return self.flow.recipe
        with closing(PlatformHook(self.flow.connection)) as hook:
            return self.flow.recipe_for(hook.active_agents())

    def refusals(self) -> list[Refusal]:
        from listkeeper.hooks.platform import PlatformHook

        flow = self.flow
        with closing(PlatformHook(flow.connection)) as hook:
            list_id = hook.find_list(flow.list, flow.campaign)
            if list_id is None:
                if flow.create_list:
                    return []
                why = (
                    f"Campaign {flow.campaign} has no list of this name. Correct `list` in the flow file, or let "
                    "`create_list: true` create it."
                )
                return [Refusal("no_list", why)]
            if flow.when_live == "allow" or not is_live(hook, list_id, flow.campaign):
                return []
        return [Refusal("live_list", LIVE)]


LIVE = (
    "The list is loaded in the dialler and its campaign is active: new leads would be called at once. Stop the "
    "campaign or unload the list, or write `when_live: allow` into the flow file if that is meant."
)


class PushLeadsOperator(SendOperator):
    """
    Push a plan's leads to a list of the Platform API in imports, and wait (deferred) for them to end.

    The list is looked up by name and campaign before it is created, each import's intent is written before the call,
    and after a lost answer the leads are looked up by customer key: only what is missing is sent again. Changed leads
    (`changed: update`) are found by their key and changed one by one, batch by batch. Rows that the vendor refuses are
    rejected by name. Returns `{"delivered", "rejected", "batches"}`.

    :param planned: what PlanPushOperator returned. (templated)
    """

    flow: PlatformPushFlow

    def send(self, context: Context) -> dict[str, Any]:
        wait = self._push(run_folder(context, self.task_id))
        if wait is not None:
            self._defer(wait)
        return self._finish(context)

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Go on when the trigger fired; how far the imports are is asked again, not read from the event."""
        if not event or event.get("status") not in ("ended", "deadline"):
            raise AirflowFailException("The trigger ended without saying why. Clear this task to go on.")
        return self.execute(context)

    def _push(self, notes: RunFolder) -> Wait | None:
        from include.push.loop import Patience, Pusher
        from listkeeper.hooks.ledger import open_ledger
        from listkeeper.hooks.platform import PlatformHook

        ledger, load, flow = open_ledger(), self.planned["load"], self.flow
        patience = Patience(timedelta(hours=flow.import_hours), timedelta(minutes=flow.lookup_minutes))
        with self._rows() as rows, closing(PlatformHook(flow.connection)) as hook:
            ledger.plan_batches(load, rows.batch_plans())
            hook.session()
            pusher = Pusher(
                ledger,
                load,
                rows,
                list_id=self._list(ledger, hook, notes),
                tenant=hook,
                notes=notes,
                patience=patience,
                now=lambda: datetime.now(UTC),
                canary=self.canary(),
                null_clears=hook.tenant.null_clears,
            )
            return pusher.run()

    @contextmanager
    def _rows(self) -> Iterator[Rows]:
        """The rows of the plan, after a look that it is the one that was decided on."""
        from include.plan import PAYLOAD, PLAN, SENT, check_plan
        from include.push.rows import open_rows
        from include.staging import RunFolder

        with RunFolder(self.planned["plan"]).reading() as files:
            paths = {path.name: path for path in files}
            plan = json.loads(paths[PLAN].read_text())
            check_plan(plan, paths[PAYLOAD], self.planned["hash"])
            size, updates = plan["options"]["chunk_rows"], plan["to_update"]
            with open_rows(paths[PAYLOAD], paths[SENT], size, canary.planned(plan), updates) as rows:
                yield rows

    def _list(self, ledger: Ledger, hook: PlatformHook, notes: RunFolder) -> int:
        """The id of the list: the one that an earlier try filled, else the one of this name, else a new one."""
        from include.push.loop import CLAIM

        flow, load = self.flow, self.planned["load"]
        noted = notes.get(LIST)
        if noted is not None:
            return int(json.loads(noted)["list_id"])
        ledger.claim_target(load, CLAIM)
        list_id = hook.find_list(flow.list, flow.campaign)
        if list_id is None:
            if not flow.create_list:
                raise AirflowFailException(
                    f"Campaign {flow.campaign} no longer has a list of this name; nothing was sent."
                )
            about = {"campaign": flow.campaign, "list": flow.list}
            ledger.record("list_intended", load, about)
            list_id = hook.create_list(flow.list, flow.campaign)
            ledger.record("list_created", load, {**about, "list_id": list_id})
        elif not self._may_be_live(ledger) and is_live(hook, list_id, flow.campaign):
            raise AirflowFailException(f"Nothing was sent. {LIVE}")
        notes.put(LIST, json.dumps({"list_id": list_id}).encode())
        return list_id

    def _may_be_live(self, ledger: Ledger) -> bool:
        """Whether a live list may be filled: by the flow's file, or by the person who approved past that guard."""
        return self.flow.when_live == "allow" or self.approved_past(ledger, "live_list")

    def _defer(self, wait: Wait) -> None:
        from listkeeper.triggers.imports import PlatformImportTrigger

        self.log.info(
            "Waiting for %d imports, at most until %s.",
            len(wait.uuids),
            wait.until.isoformat(timespec="seconds"),
        )
        self.defer(
            trigger=PlatformImportTrigger(
                connection=self.flow.connection, uuids=list(wait.uuids), until=wait.until.isoformat()
            ),
            method_name="resume",
        )

    def _finish(self, context: Context) -> dict[str, Any]:
        """Nothing is under way: write down which leads the list has now, and say what speaks against it."""
        from include.push.applied import write_applied
        from listkeeper.hooks.ledger import open_ledger

        ledger, load = open_ledger(), self.planned["load"]
        batches = ledger.batches(load)
        delivered, rejected, uncertain = (
            sum(getattr(batch, name) for batch in batches) for name in ("delivered", "rejected", "uncertain")
        )
        if delivered and not uncertain:
            applied = run_folder(context, "applied")
            write_applied(applied, self.planned["plan"], run_folder(context, self.task_id), batches)
            ledger.mark_applied(load, applied.path)
        ledger.release_target(load)
        if why := canary.problem(self.canary(), batches):
            raise AirflowFailException(why)
        if uncertain:
            notes = " ".join(dict.fromkeys(batch.note for batch in batches if batch.uncertain and batch.note))
            raise AirflowFailException(f"{uncertain} rows are uncertain. {notes}")
        self.log.info("%d leads delivered, %d refused, in %d batches.", delivered, rejected, len(batches))
        return {"delivered": delivered, "rejected": rejected, "batches": len(batches)}
