"""
### Erase one customer, everywhere we can reach

**Start it on Listkeeper's page** (*Listkeeper*, *Erase a customer*), never from this DAG's form: what is typed into a
form stays in Airflow's database and is shown to everybody who sees the run. The page seals number and address, and
starts this DAG with the id of the request.

**What.** `preview` counts what names the customer. `approve` shows the counts to a second person, who may not be the
one who asked. `erase` then keeps the number and the address from ever coming back (keyed hashes, reason `erased`),
erases them at the Platform API, takes them out of everything staged (snapshots, run folders, payloads, rejects,
reports) and out of free words in the ledger, searches again, and writes a certificate without personal data into the
run's folder and the evidence.

**When it fails.** Read the log: it names the step. Clearing `erase` goes on where it stopped; no count is lost. A load
that is being sent is waited for. A rejected request, and one that nobody answered within three days, is forgotten: ask
again.

**May it be run again?** Yes: erasing twice changes nothing more.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, chain
from listkeeper.flow import defaults
from listkeeper.operators.erasure import (
    ApproveErasureOperator,
    EraseCustomerOperator,
    PreviewErasureOperator,
)

from include.flow_files import PlatformPushFlow, PlatformSource, load_flows

sources, _ = load_flows(PlatformSource)
pushes, _ = load_flows(PlatformPushFlow)
connections = {source.connection for source in sources} | {push.connection for push in pushes}

with DAG(
    dag_id="erase_customer",
    description="Erase one customer at the Platform API and in everything that is staged",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=defaults("listkeeper"),
    tags={"listkeeper", "erasure", "platform"},
    params={
        "request": Param(
            "",
            type="string",
            pattern="^[0-9a-f]{32}$",
            title="Request",
            description_md="Id of the request, as Listkeeper's page *Erase a customer* gave it. Write no number and no "
            "address here.",
        )
    },
) as dag:
    chain(
        PreviewErasureOperator(task_id="preview", request="{{ params.request }}"),
        ApproveErasureOperator(task_id="approve", request="{{ params.request }}"),
        EraseCustomerOperator(
            task_id="erase",
            request="{{ params.request }}",
            connections=sorted(connections or {"platform_default"}),
        ),
    )
