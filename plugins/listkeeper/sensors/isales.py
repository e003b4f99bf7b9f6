"""A sensor for an iSales import, for any DAG: waits until its task has ended, and judges it by its counts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from include.vendors.errors import VendorError
from listkeeper.masking import Masked
from listkeeper.triggers.isales import ImportTasksTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.vendors.isales_tasks import ImportTask


class ImportTaskSensor(Masked, BaseSensorOperator):
    """
    Wait until an import task of iSales has ended; without a worker, unless told otherwise.

    Fails when the import failed, when not one record was new, or when the counts are not those of `rows`. Returns the
    vendor's counts: `{"valid", "repeated", "failed"}`, and `blacklisted` where the server tells it.

    .. code-block:: python

        ImportTaskSensor(task_id="wait", import_task=asked.output, vdn_id=1, campaign="1803096731904991234")

    :param import_task: id of the import task. (templated)
    :param vdn_id: number of the virtual call centre.
    :param campaign: id of the campaign. (templated)
    :param rows: how many records the file holds, where that is known; each must be counted. (templated)
    :param isales_conn_id: connection of type `isales`.
    :param deferrable: whether to wait in the triggerer, without a worker.
    """

    template_fields: Sequence[str] = ("import_task", "campaign", "rows")

    def __init__(
        self,
        *,
        import_task: Any,
        vdn_id: int,
        campaign: str,
        rows: Any = None,
        isales_conn_id: str = "isales_default",
        poke_interval: float = 30.0,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.import_task, self.campaign, self.vdn_id, self.rows = import_task, campaign, vdn_id, rows
        self.isales_conn_id, self.deferrable = isales_conn_id, deferrable

    @property
    def _ids(self) -> tuple[str, list[str]]:
        """Campaign and task as text: a DAG that renders native objects makes numbers of them."""
        return str(self.campaign), [str(self.import_task)]

    def poke(self, context: Context) -> Any:
        from airflow.sdk import PokeReturnValue

        task = self._look()
        if task is None or not task.ended:
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._judged(task))

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        task = self._look()
        if task is not None and task.ended:
            return self._judged(task)
        campaign, task_ids = self._ids
        self.defer(
            trigger=ImportTasksTrigger(
                connection=self.isales_conn_id,
                vdn_id=self.vdn_id,
                campaign=campaign,
                task_ids=task_ids,
                deadline=(datetime.now(UTC) + timedelta(seconds=self.timeout)).isoformat(),
                poll_seconds=self.poke_interval,
            ),
            method_name="resume",
        )
        return None

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, int]:
        """Look once more when the trigger fired."""
        task = self._look()
        if task is None or not task.ended:
            raise AirflowFailException(
                f"The import has not ended within {self.timeout:g} s; iSales shows "
                + ("no task by this id." if task is None else "that it is still under way.")
            )
        return self._judged(task)

    def _look(self) -> ImportTask | None:
        from listkeeper.hooks.isales import IsalesHook

        campaign, task_ids = self._ids
        with closing(IsalesHook(self.isales_conn_id)) as hook:
            try:
                found = hook.tasks(vdn_id=self.vdn_id, campaign=campaign, task_ids=task_ids)
            except VendorError as error:
                if error.again:
                    raise
                raise AirflowFailException(str(error)) from None
        return found[0] if found else None

    def _judged(self, task: ImportTask) -> dict[str, int]:
        from include.vendors.isales_tasks import judge

        rows = task.counted if self.rows is None else int(self.rows)
        outcome = judge(task, rows)
        if outcome.problem:
            raise AirflowFailException(outcome.problem)
        if not task.imported:
            raise AirflowFailException("The import finished without a single record.")
        return task.vendor_counts
