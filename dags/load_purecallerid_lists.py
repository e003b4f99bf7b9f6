"""
### Load a Five9 or RingCX list through PureCallerID

One DAG per flow file (`kind: load_purecallerid` in the flows folder).

**When.** Each night, as soon as the snapshot of its source is complete; or by hand from the form.

**What.** `find_snapshot` chooses the night, `clean` sorts out the leads, `plan` shows what would change and asks the
guards, `approve` waits for a person where a guard stopped the plan (see Required Actions; else it is skipped), `load`
sends exactly that plan and waits without a worker for PureCallerID's webhook, `reconcile` adds up where every row
ended, `report` writes it down and turns the run red unless every row is accounted for.

**The form.** *Night*: empty takes the newest. *What to do*: `plan` sends nothing; `apply` sends, and needs a *reason*.
A flow whose file does not say `released: true` only plans.

**Five9** lists are appended to or replaced; **RingCX** lists are only appended to, with one of three `dedupe` rules.

**When it fails.** The report (linked on each task) says in words what is wrong.
*refused*: a guard stopped it, nothing was sent. *not approved*: no person let it through. *uncertain*: the rows were
sent and no webhook told how it ended; look at the list in the dialer, then run `listkeeper resolve`. *failed*: the
vendor's own counts say so.

**May it be run again?** Yes. The same night twice is delivered once, an older night is refused, and after a crash the
load is sent again only where that cannot put a lead on the list twice.
"""

from __future__ import annotations

from functools import partial

from airflow.sdk import DAG, PartitionedAssetTimetable
from listkeeper.flow import broken_flow_dag, deliver, delivery, source_asset
from listkeeper.operators.purecallerid import LoadListOperator

from include.flow_files import PureCallerIdFlow, load_flows

flows, broken_files = load_flows(PureCallerIdFlow)

for flow in flows:
    schedule = PartitionedAssetTimetable(assets=source_asset(flow.source))
    with DAG(schedule=schedule, **delivery(flow, __doc__)) as dag:
        deliver(flow, partial(LoadListOperator, task_id="load", flow=flow, pool="purecallerid"))
    globals()[flow.dag_id] = dag

for broken in broken_files:
    globals()[broken.dag_id] = broken_flow_dag(broken)
