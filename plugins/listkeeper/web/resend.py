"""Where an analyst gets the rejects of a run to fix, and uploads them fixed: starts `resend_rejects`.

The file goes into the folder of the run that reads it, never into a DAG's form. Only who may start both DAGs, the
delivery and `resend_rejects`, gets and gives it. A file that nobody can read is refused here, while the person is
there.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from include import resend
from include.approval import SHORTEST_REASON
from include.fixed import MAX_BYTES, FixedFileError, read_fixed
from include.flow_files import Delivery, deliveries
from include.ledger import Load
from include.resend import ResendError
from include.uploads import Upload, write_upload
from listkeeper.hooks.ledger import open_ledger
from listkeeper.web import pages
from listkeeper.web.pages import DagId, RunSlug

DAG: Final = "resend_rejects"
FORM_BYTES: Final = MAX_BYTES + 64 * 1024
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MAY_START: Final = [
    Depends(requires_access_dag("POST", DagAccessEntity.RUN)),
    Depends(requires_access_dag("POST", DagAccessEntity.RUN, DAG)),
]

router = APIRouter()


@router.get("/runs/{dag_id}/{run_slug}/fix.xlsx", dependencies=MAY_START)
def to_fix(dag_id: DagId, run_slug: RunSlug) -> Response:
    """Send the rejects of a run with what stands in their leads now."""
    flow, load = _load(dag_id, run_slug)
    content = resend.workbook(flow, load)
    return Response(
        content, media_type=XLSX, headers={"Content-Disposition": 'attachment; filename="fix.xlsx"'}
    )


@router.post("/runs/{dag_id}/{run_slug}/fixed", dependencies=MAY_START)
async def fixed(request: Request, dag_id: DagId, run_slug: RunSlug, user: GetUserDep) -> HTMLResponse:
    """Take a file of fixed rejects, and start its run."""
    pages.refuse_other_sites(request)
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise HTTPException(411, "The form does not say how large it is.")
    if int(length) > FORM_BYTES:
        raise HTTPException(413, f"The file has more than {MAX_BYTES >> 20} MB. Split it.")
    async with request.form(max_files=1, max_fields=5) as form:
        file, reason = form.get("file"), str(form.get("reason") or "").strip()[:300]
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "Choose a file.")
        name, content = file.filename or "", await file.read()
    shown: dict[str, Any] = {"dag_id": dag_id, "run_slug": run_slug}
    try:
        rows, run_id = await run_in_threadpool(
            _start, dag_id, run_slug, name, content, reason, user.get_name()
        )
    except (FixedFileError, ResendError) as error:
        return pages.page(request, "resend.html", 400, problem=str(error), **shown)
    return pages.page(request, "resend.html", problem=None, rows=rows, run_id=run_id, **shown)


def _load(dag_id: str, run_slug: str) -> tuple[Delivery, Load]:
    """The flow and the load of a run. Raises HTTPException when its rejects cannot be sent again."""
    ledger = open_ledger()
    load = pages.load_of(ledger, dag_id, run_slug)
    flow = next((flow for flow in deliveries() if flow.dag_id == dag_id), None)
    if load is None or flow is None:
        raise HTTPException(404, "There is no such run of a delivery.")
    if problem := resend.load_problem(ledger, flow, load):
        raise HTTPException(409, problem)
    return flow, load


def _start(dag_id: str, run_slug: str, name: str, content: bytes, reason: str, who: str) -> tuple[int, str]:
    """Keep the file and start its run. Whatever goes wrong in between, nothing of it stays."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.sdk.exceptions import AirflowException
    from airflow.utils.types import DagRunTriggeredByType

    _, load = _load(dag_id, run_slug)
    if len(reason) < SHORTEST_REASON:
        raise ResendError("Give the reason: it goes into the evidence.")
    read = read_fixed(name, content)
    run_id = f"fixed__{secrets.token_hex(8)}"
    folder = write_upload(DAG, run_id, Upload(load.id, name, who, reason, content))
    try:
        trigger_dag(
            DAG,
            triggered_by=DagRunTriggeredByType.REST_API,
            triggering_user_name=who,
            run_id=run_id,
            conf={},
        )
    except (AirflowException, ValueError) as error:
        folder.remove()
        raise HTTPException(
            503,
            f"The run of {DAG} could not be started ({type(error).__name__}). Nothing was kept; try again.",
        ) from None
    except BaseException:
        folder.remove()
        raise
    return len(read.fixes) + len(read.problems), run_id
