"""
### Remove what nobody needs any more

**What.** Every day: lead and call snapshots, working files of runs, reports and reject files, copies for restoring,
workbooks on iSales' file server, answers of scrub services, and in the ledger callbacks, claims and loads are removed
when the days of their class are over. The days stand in a flow file of `kind: keep_house`; without one the defaults
hold. `forever` keeps a class.

**Steps.** `plan` looks through everything and names each thing that would go; its report (link *Report*) has a table
by class, and why something old stays. `clean_up` looks at each of these again right before it removes it, and writes
the counts into the evidence. The form's *Only plan* stops before that.

**What never goes.** Hashes of erased customers, certificates of erasures, the evidence; what tells what stands on a
list; everything of a load that has not ended or is not resolved, and of a run under way; the newest night of a source;
calls that a flow's rules look back at; leads that the last load left for the next night; anything outside
`LISTKEEPER_STAGING` but our own uploads.

**When it fails.** The report names what could not be removed; the task tries again, and so does the next run. Nothing
is lost: what was not removed is still there, and what a crash interrupted is looked at again.

**May it be run again?** Yes, at any time, beside everything else.
"""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable, Param
from listkeeper.flow import broken_flow_dag, defaults, tags
from listkeeper.operators.house import CleanUpOperator, PlanHouseOperator

from include.flow_files import BrokenFlow, FlowFileError, KeepHouse, load_flows

good, broken = load_flows(KeepHouse)
house = good[0] if good else KeepHouse.model_validate({"kind": "keep_house"})

if broken or len(good) > 1:
    # Defaults would remove what a file with a slip of the pen meant to keep.
    error = (
        broken[0].error
        if broken
        else FlowFileError("keep_house", ["kind: two files say keep_house; keep one"])
    )
    keep_house = broken_flow_dag(BrokenFlow("keep_house", error))
else:
    with DAG(
        dag_id="keep_house",
        description=house.title or "Remove what is staged and not needed any more",
        doc_md=__doc__,
        schedule=CronTriggerTimetable(house.schedule, timezone=house.zone),
        catchup=False,
        max_active_runs=1,
        default_args=defaults(house.owner),
        tags=tags(house, "house"),
        params={
            "only_plan": Param(
                house.only_plan,
                type="boolean",
                title="Only plan",
                description_md="Show what would go, and remove nothing.",
            )
        },
    ) as keep_house:
        PlanHouseOperator(task_id="plan", house=house) >> CleanUpOperator(task_id="clean_up", house=house)
