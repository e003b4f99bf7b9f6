"""
### Put a list back to what an earlier load left on it

For a list that is **replaced** (Five9 `REPLACE`): when last night's load was wrong, this puts the one before it back.

**The form.** *List*: the delivery whose list it is. *Load*: the load to go back to (Listkeeper's pages and `listkeeper
loads` show the ids); empty takes the newest that is not on the list now. *Reason*: kept as evidence, and shown to
whoever approves.

**What.** After every load that ended well, the leads that went out are kept encrypted for some days. `hand_in` opens
that copy and hands it in to the list's own delivery; `deliver` starts that DAG (run id `restore__...`) and waits
without a worker. There everything is as on any night: the leads are cleaned by tonight's rules and suppression lists,
planned, and guarded. **It always waits for a second person's approval** under *Required Actions*.

**Afterwards** no delivery of data that is older than this decision is let onto the list. The next night comes as usual.

**When it fails.** Nothing was sent, or the report of the delivery's run says what was. Lists that are only added to
cannot be put back: the message says what to do instead.

**May it be run again?** Yes. Each run is a decision of its own, with an approval of its own.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param
from listkeeper.flow import defaults
from listkeeper.operators.hand_in import DeliverHandedInOperator, HandInCopyOperator

from include.flow_files import deliveries

flows = deliveries()

with DAG(
    dag_id="restore_list",
    description="Put a list back to what an earlier load left on it",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=defaults("listkeeper"),
    tags={"listkeeper", "restore"},
    params={
        "list": Param(
            "",
            type="string",
            enum=["", *(flow.dag_id for flow in flows)],
            title="List",
            description_md="The delivery whose list is put back.",
        ),
        "load": Param(
            None,
            type=["null", "string"],
            pattern="^[0-9a-f]{8,32}$",
            title="Load",
            description_md="Id of the load to go back to, or its first eight characters. Empty: the newest that is "
            "not on the list now.",
        ),
        "reason": Param(
            "",
            type="string",
            maxLength=300,
            title="Reason",
            description_md="Why. Kept as evidence and shown to whoever approves. Write no names or numbers of "
            "customers.",
        ),
    },
) as dag:
    handed_in = HandInCopyOperator(task_id="hand_in", flows=flows)
    DeliverHandedInOperator(task_id="deliver", handed_in=handed_in.output)
