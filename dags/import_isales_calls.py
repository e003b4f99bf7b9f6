"""
### Import call data files into an iSales campaign

One DAG per flow file (`kind: import_isales` in the flows folder).

**When.** Each night, as soon as the snapshot of its source is complete; or by hand from the form.

**What.** `find_snapshot` chooses the night, `clean` sorts out the leads, `plan` shows what would change and asks the
guards, `approve` waits for a person where a guard stopped the plan (see Required Actions; else it is skipped), `load`
writes exactly that plan as workbooks of at most 500,000 records, brings them to the SFTP server, asks iSales for their
import and waits without a worker for the import tasks, `reconcile` adds up where every row ended, `report` writes it
down and turns the run red unless every row is accounted for.

**The form.** *Night*: empty takes the newest. *What to do*: `plan` sends nothing; `apply` sends, and needs a *reason*.
A flow whose file does not say `released: true` only plans.

**When it fails.** The report (linked on each task) says in words what is wrong.
*refused*: a guard stopped it, nothing was sent. *uncertain*: nobody knows whether an import began, or how it ended;
look at the import results of the campaign, then run `listkeeper resolve`. *failed*: the vendor's own counts say so. An
import that is finished without a new record is no success, and repeats are counted apart.

**May it be run again?** Yes. The same night twice is imported once, an older night is refused. After a crash or a lost
answer the newest import tasks are read before anything is asked for again.
"""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG, PartitionedAssetTimetable
from listkeeper.flow import broken_flow_dag, deliver, delivery, source_asset
from listkeeper.operators.isales import ImportCallsOperator, PlanImportOperator

from include.flow_files import IsalesFlow, load_flows

flows, broken_files = load_flows(IsalesFlow)

for flow in flows:
    schedule = PartitionedAssetTimetable(assets=source_asset(flow.source))
    with DAG(schedule=schedule, **delivery(flow, __doc__)) as dag:
        load = partial(ImportCallsOperator, task_id="load", flow=flow, pool="isales")
        deliver(flow, load, plan=PlanImportOperator)
    globals()[flow.dag_id] = dag

for broken in broken_files:
    globals()[broken.dag_id] = broken_flow_dag(broken)
