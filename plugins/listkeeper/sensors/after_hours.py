"""A sensor for office hours, for any DAG: what must not run while people work waits for the evening."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from include.hours import OfficeHours
from listkeeper.masking import Masked
from listkeeper.triggers.after_hours import AfterHoursTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context


class AfterHoursSensor(Masked, BaseSensorOperator):
    """
    Wait until an office is closed; without a worker, unless told otherwise.

    Wrong hours stop the DAG file from being parsed, with words that say what to write.

    .. code-block:: python

        AfterHoursSensor(task_id="evening", zone="Africa/Johannesburg", week={"mon-fri": "08:00-17:00"}, country="ZA")

    :param zone: IANA time zone of the office.
    :param week: weekday or range of weekdays -> hours, such as `{"mon-fri": "08:00-17:00", "sat": "09:00-13:00"}`.
    :param holidays: dates on which the office is closed.
    :param country: ISO code of a country (or of a part of it, `US-CA`) whose public holidays close it.
    :param at_least_minutes: how long it must stay closed, so that the work fits before it opens.
    :param deferrable: whether to wait in the triggerer, without a worker.
    """

    def __init__(
        self,
        *,
        zone: str,
        week: Mapping[str, str],
        holidays: Sequence[date | str] = (),
        country: str | None = None,
        at_least_minutes: float = 0.0,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        hours = OfficeHours.model_validate(
            {"zone": zone, "week": dict(week), "holidays": list(holidays), "country": country}
        )
        self.hours = hours.model_dump(mode="json")
        self.at_least_minutes = at_least_minutes
        self.deferrable = deferrable

    def poke(self, context: Context) -> bool:
        now = datetime.now(UTC)
        hours = OfficeHours.model_validate(self.hours)
        return hours.next_window(now, timedelta(minutes=self.at_least_minutes)) <= now

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        if not self.poke(context):
            self.defer(
                trigger=AfterHoursTrigger(hours=self.hours, at_least_minutes=self.at_least_minutes),
                method_name="resume",
                timeout=timedelta(seconds=self.timeout) if self.timeout else None,
            )
        return None

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> None:
        """Look once more: a triggerer may have been away when the window was open."""
        if not event or event.get("status") != "after_hours":
            raise AirflowFailException("The trigger ended without saying why. Clear this task to look again.")
        self.execute(context)
