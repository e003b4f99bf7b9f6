"""
### Push cleaned leads to a list of the Platform API

One DAG per flow file (`kind: push_platform_leads` in the flows folder).

**When.** After each night's pull of its source, once per night. By hand: choose a night, or take the newest complete
one.

**What.** `clean` takes out bad numbers, repeats and suppressed leads; `plan` asks whether the list is being dialled
and whether assigned agents are active, shows what would be added, and asks the guards. `approve` waits for a person
where a guard stopped the plan (see Required Actions; else it is skipped). `load` looks the list up by name
and campaign (and creates it, where the file says so), hands the leads in as imports of 500, waits for them without a
worker, and reads every page of their errors: each lead that the vendor refused stands in the rejects with the reason
`vendor_row_error`. Where the file says `changed: update`, leads that are on the list and have changed are looked up by
their key and changed, one by one; else they are held. `reconcile` adds up where every row ended; `report` writes the
report, the reject files and the evidence, and judges.

**Released or not.** A flow whose file says `released: false` only plans. So does a run that follows a backfill.

**When it fails.** The report says what speaks against the load. After a lost answer nothing is sent blindly: the task
waits `lookup_minutes`, looks each lead up by list and customer key, and sends only what is missing. Rows whose import
did not end in time are *uncertain*: clear `load` to ask again, or look at the list and resolve the load.

**May it be run again?** Yes: leads that this flow has put on the list are held as `already_delivered`, and those that
the vendor refused go out again once they are mended.
"""

from __future__ import annotations

from airflow.sdk import DAG, PartitionedAssetTimetable
from listkeeper.flow import broken_flow_dag, deliver, delivery, source_asset
from listkeeper.operators.platform_push import PlanPushOperator, PushLeadsOperator

from include.flow_files import PlatformPushFlow, load_flows

flows, broken_files = load_flows(PlatformPushFlow)

for flow in flows:
    with DAG(
        schedule=PartitionedAssetTimetable(assets=source_asset(flow.source)), **delivery(flow, __doc__)
    ) as dag:
        deliver(
            flow,
            lambda planned, flow=flow: PushLeadsOperator(
                task_id="load", flow=flow, planned=planned, pool="platform_api"
            ),
            plan=PlanPushOperator,
        )
    globals()[flow.dag_id] = dag

for broken in broken_files:
    globals()[broken.dag_id] = broken_flow_dag(broken)
