"""
### Archive old Vicidial leads after hours

One DAG per flow file (`kind: archive_vicidial_leads` in the flows folder).

**When.** At the flow's schedule, in the office's zone. Selecting and planning takes moments; archiving waits, without
a worker, until the office is closed, stops before it opens, and goes on the next night at the next unsent batch. So a
run may last several nights; the next one begins when it has ended.

**What.** `select` picks leads by the flow's rules from the dialer's own database (or takes a file of lead ids), `plan`
counts them per rule, says how many fit tonight and when it ends, and asks the guards, `approve` waits for a
person where a guard stopped the plan (see Required Actions; else it is skipped), `archive` sends batches of 500 ids,
`reconcile` adds up where every lead ended, `report` writes it down and turns the run red unless every lead is
accounted for.

**The form.** *What to do*: `plan` sends nothing; `apply` archives, and needs a *reason*. A flow whose file does not say
`released: true` only plans. *Limit*: most leads of this run. *When to begin*: `ask the server` leaves the flow's
office hours aside, for a day that the file does not know; the server still refuses inside its own.

**When it fails.** The report (linked on each task) says in words what is wrong.
*refused*: a guard stopped it, nothing was sent. *failed*: leads stayed on the list although they were archived, or the
server says no; what was archived stays so. *uncertain*: the server did not answer any more; clear `archive`.

**May it be run again?** Yes. Clearing `archive` goes on at the next unsent batch. A lead is never archived twice, and
none is taken off the list before its copy is whole: a lead that an agent touched meanwhile stays.
"""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable, Param, TriggerRule, chain
from listkeeper.flow import asking_params, broken_flow_dag, defaults, tags
from listkeeper.operators.approval import ApprovePlanOperator
from listkeeper.operators.reconcile import ReconcileOperator, ReportOperator
from listkeeper.operators.vicidial import (
    BY_HOURS,
    WINDOWS,
    ArchiveLeadsOperator,
    PlanArchiveOperator,
    SelectLeadsOperator,
)

from include.flow_files import ArchiveFlow, load_flows

flows, broken_files = load_flows(ArchiveFlow)

for flow in flows:
    with DAG(
        dag_id=flow.dag_id,
        description=flow.title or "Old leads, archived after hours",
        doc_md=__doc__,
        schedule=CronTriggerTimetable(flow.schedule, timezone=flow.local_zone),
        catchup=False,
        max_active_runs=1,
        default_args=defaults(flow.owner),
        tags=tags(flow, "archive", flow.vendor),
        params={
            **asking_params(released=flow.released),
            "limit": Param(
                None,
                type=["null", "integer"],
                minimum=1,
                title="Limit",
                description_md="Most leads of this run. Empty: as the flow's file says.",
            ),
            "window": Param(
                BY_HOURS,
                type="string",
                enum=list(WINDOWS),
                title="When to begin",
                description_md="`by the office hours` of the flow's file, or `ask the server`, which refuses inside "
                "its own and is then asked again later.",
            ),
        },
        render_template_as_native_obj=True,
    ) as dag:
        select = SelectLeadsOperator(task_id="select", flow=flow)
        plan = PlanArchiveOperator(task_id="plan", flow=flow, found=select.output)
        approve = ApprovePlanOperator(task_id="approve", flow=flow, planned=plan.output)
        archive = ArchiveLeadsOperator(task_id="archive", flow=flow, planned=plan.output, pool="vicidial")
        reconcile = ReconcileOperator(
            task_id="reconcile",
            flow=flow,
            steps=("select", "select", "plan", "archive"),
            trigger_rule=TriggerRule.ALL_DONE,
        )
        report = ReportOperator(task_id="report", flow=flow, summary=reconcile.output)
        chain(plan, approve, archive, reconcile, report)
    globals()[flow.dag_id] = dag

for broken in broken_files:
    globals()[broken.dag_id] = broken_flow_dag(broken)
