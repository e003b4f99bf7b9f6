"""House-keeping's steps: plan what would go, then take exactly that away."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from include.flow_files import IsalesFlow, KeepHouse
from listkeeper.links import ReportLink
from listkeeper.masking import Masked
from listkeeper.operators.run import refuse_unknown_params, run_folder

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.house.house import Cleaned, House, HousePlan

REMOVALS: Final = "removals.json"
UNDER_WAY: Final = ["queued", "running"]


class HouseOperator(Masked, BaseOperator):
    """
    Base of the steps.

    :param house: the file of kind `keep_house`, or its defaults.
    """

    operator_extra_links = (ReportLink(),)

    def __init__(self, *, house: KeepHouse, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.house = house

    def open(self, context: Context) -> House:
        """The house as it stands, with Airflow's word on which runs are under way."""
        from include.house.house import House
        from listkeeper.hooks.ledger import open_ledger

        ti, own = context["ti"], context["dag_run"]

        def active(dag_id: str, but_for: Collection[str]) -> int:
            runs: int = ti.get_dr_count(dag_id=dag_id, states=UNDER_WAY)
            known = [*but_for, *([own.run_id] if dag_id == own.dag_id else [])]
            if runs and known:
                runs -= ti.get_dr_count(dag_id=dag_id, run_ids=known, states=UNDER_WAY)
            return runs

        return House(open_ledger(), self.house.days, active=active, servers=_FileServers())

    def report(self, context: Context, plan: HousePlan, cleaned: Cleaned | None = None) -> str:
        """Write the run's report; returns its folder."""
        from include.house.report import house_markdown
        from include.staging import Manifest

        out = run_folder(context, "report")
        with out.writing() as scratch:
            (scratch / "report.md").write_text(
                house_markdown(plan, self.house.days, cleaned), encoding="utf-8"
            )
            out.commit(scratch, Manifest(kind="report", rows=0))
        return out.path


class PlanHouseOperator(HouseOperator):
    """
    Look what is old enough to go and needed by nobody; removes nothing.

    Returns `{"plan", "counts"}`: the run folder that names every single thing, and class -> items, pieces, bytes.

    :param house: the file of kind `keep_house`, or its defaults.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from include.staging import Manifest

        refuse_unknown_params(context["dag_run"], self.dag.params)
        plan = self.open(context).plan()
        out = run_folder(context, self.task_id)
        with out.writing() as scratch:
            (scratch / REMOVALS).write_text(json.dumps(plan.to_json()), encoding="utf-8")
            out.commit(scratch, Manifest(kind="removals", rows=len(plan.items)))
        self.report(context, plan)
        self.log.info("%d things would go, %d are old and still needed.", len(plan.items), len(plan.stays))
        return {"plan": out.path, "counts": plan.count()}


class CleanUpOperator(HouseOperator):
    """
    Take away what the plan names and still nobody needs; write the counts into the evidence.

    Returns `{"removed", "stayed"}`: class -> items, pieces, bytes and days, and how much of the plan stayed after all.

    :param house: the file of kind `keep_house`, or its defaults.
    :param planning: id of the task that planned.
    """

    def __init__(self, *, planning: str = "plan", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.planning = planning

    def execute(self, context: Context) -> dict[str, Any]:
        from include.house.house import HousePlan

        if context["params"].get("only_plan") or self.house.only_plan:
            raise AirflowSkipException("Only planned: nothing was removed. The report says what would go.")
        with run_folder(context, self.planning).reading(REMOVALS) as files:
            plan = HousePlan.from_json(json.loads(files[0].read_text(encoding="utf-8")))
        dag_run = context["dag_run"]
        about = {"run_id": dag_run.run_id, "requested_by": getattr(dag_run, "triggering_user_name", None)}
        cleaned = self.open(context).clean_up(plan, about)
        self.report(context, plan, cleaned)
        for kept, count in cleaned.removed.items():
            self.log.info("%s: %d things, %d files or rows, %d bytes.", kept, *list(count.values())[:3])
        if cleaned.failed:
            raise AirflowException(
                f"{len(cleaned.failed)} things could not be removed; the report names them. Trying again."
            )
        return {"removed": cleaned.removed, "stayed": len(cleaned.stayed)}


class _FileServers:
    """The servers that iSales flows upload to."""

    def remove(self, flow: IsalesFlow, name: str) -> bool:
        from listkeeper.hooks.sftp import SftpUploadHook

        hook, path = SftpUploadHook(flow.sftp_connection), flow.remote_path(name)
        folder, file = posixpath.split(path)
        hook.remove(posixpath.join(folder, f".{file}.part"))  # of an upload that was cut
        return hook.remove(path)
