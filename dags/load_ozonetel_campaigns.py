"""
### Load an Ozonetel campaign

One DAG per flow file (`kind: load_ozonetel` in the flows folder).

**When.** Each night, as soon as the snapshot of its source is complete; or by hand from the form.

**What.** `find_snapshot` chooses the night, `clean` sorts out the leads, `plan` shows what would be added, how long
that takes at the vendor's limit and when it ends, and asks the guards. `approve` waits for a person where a guard
stopped the plan (see Required Actions; else it is skipped). `load` sends exactly that plan in batches of at most 500
rows, never more than five a minute for the whole account, and waits without a worker for its turns and for the callback
of every batch; rows that the vendor did not add are fetched and rejected with its reason. `reconcile` adds up where
every row ended, `report` writes it down and turns the run red unless every row is accounted for.

**The form.** *Night*: empty takes the newest. *What to do*: `plan` sends nothing; `apply` sends, and needs a *reason*.
A flow whose file does not say `released: true` only plans.

**New columns** are tried with one row first: columns that do not fit the campaign fail only in the callback.

**When it fails.** The report (linked on each task) says in words what is wrong.
*refused*: a guard stopped it, nothing was sent. *uncertain*: rows were sent and no callback told how they ended; look
at the campaign in the vendor's console, then clear the task `load` (with `duplicates: skip_all` that is safe), or run
`listkeeper resolve`. *failed*: the vendor's own counts say so.

**May it be run again?** Yes. What was delivered is held, an older night is refused, and after a crash a batch is sent
again only where the vendor checks for duplicates.
"""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG, PartitionedAssetTimetable
from listkeeper.flow import broken_flow_dag, deliver, delivery, source_asset
from listkeeper.operators.ozonetel import LoadCampaignOperator, PlanCampaignOperator

from include.flow_files import OzonetelFlow, load_flows

flows, broken_files = load_flows(OzonetelFlow)

for flow in flows:
    schedule = PartitionedAssetTimetable(assets=source_asset(flow.source))
    with DAG(schedule=schedule, **delivery(flow, __doc__)) as dag:
        load = partial(LoadCampaignOperator, task_id="load", flow=flow, pool="ozonetel")
        deliver(flow, load, plan=PlanCampaignOperator)
    globals()[flow.dag_id] = dag

for broken in broken_files:
    globals()[broken.dag_id] = broken_flow_dag(broken)
