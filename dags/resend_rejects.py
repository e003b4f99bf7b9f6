"""
### Send rejects again that a person has fixed

**Start it on Listkeeper's pages**, never here: open the page of the run whose rejects you want to fix (link *Rejects*
on each of its tasks), download *rejects to fix*, correct the cells, and upload the file there. The page starts this
DAG; it takes no parameters, so that nobody's number is ever typed into a form.

**What.** `hand_in` reads the file, finds each row by its `row_key` among that load's rejects, and puts the corrected
cells into the leads of that night. Rows that cannot be used are in this run's own reject file, with row, column and
rule.
`deliver` starts the list's own delivery (run id `resend__...`) and waits without a worker; there the rows are cleaned,
planned, guarded and delivered as on any night.

A list that is **added to** gets the fixed rows; what stands on it already is not sent twice. A list that is
**replaced** gets the whole night again with the fixed rows in it, unless it has a newer night since.

**When it fails.** `hand_in`: its message and the report of this run say what is wrong with the file. `deliver`: the
report of the delivery's run says why.

**May it be run again?** Yes: a row is delivered once, also when the same file is uploaded twice.
"""

from __future__ import annotations

from airflow.sdk import DAG
from listkeeper.flow import defaults
from listkeeper.operators.hand_in import DeliverHandedInOperator, HandInFixedOperator

from include.flow_files import deliveries

with DAG(
    dag_id="resend_rejects",
    description="Send rejects again that a person has fixed and uploaded",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=defaults("listkeeper"),
    tags={"listkeeper", "rejects"},
) as dag:
    handed_in = HandInFixedOperator(task_id="hand_in", flows=deliveries())
    DeliverHandedInOperator(task_id="deliver", handed_in=handed_in.output)
