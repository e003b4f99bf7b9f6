"""The page on which an analyst asks for an erasure: seals number and address, and starts `erase_customer` with an id.

A DAG's own form will not do: Airflow keeps the conf of a run and shows it. Only who may start the DAG may ask. A form
that another site sends is refused: it comes without the log-in's cookie, or says where it comes from.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from include.erasure import requests
from include.erasure.keys import ErasureKeyError
from include.erasure.person import Person, PersonError
from listkeeper.hooks.erasure import erasure_key
from listkeeper.web import pages

DAG: Final = "erase_customer"
MAX_FORM: Final = 4096

router = APIRouter()


@router.get("/erase", dependencies=[Depends(requires_access_dag("POST", DagAccessEntity.RUN, DAG))])
def form(request: Request) -> HTMLResponse:
    """Show the form."""
    return pages.page(request, "erase.html", problem=None, request_id=None)


@router.post("/erase", dependencies=[Depends(requires_access_dag("POST", DagAccessEntity.RUN, DAG))])
async def ask(request: Request, user: GetUserDep) -> HTMLResponse:
    """Take a request, and start its run."""
    pages.refuse_other_sites(request)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM:
            raise HTTPException(413, "The form is too large.")
    fields = parse_qs(body.decode("utf-8", "replace"))
    phone, email = (fields.get(name, [""])[0] for name in ("phone", "email"))
    try:
        taken, run_id = await run_in_threadpool(_start, phone, email, user.get_name())
    except (PersonError, ErasureKeyError) as error:
        return pages.page(request, "erase.html", 400, problem=str(error), request_id=None)
    return pages.page(
        request, "erase.html", problem=None, request_id=taken.id, who=taken.person.masked, run_id=run_id
    )


def _start(phone: str, email: str, who: str) -> tuple[requests.Request, str]:
    """Seal the request and start its run. Whatever goes wrong in between, nothing of it stays."""
    from airflow.api.common.trigger_dag import trigger_dag
    from airflow.sdk.exceptions import AirflowException
    from airflow.utils.types import DagRunTriggeredByType

    taken = requests.store(erasure_key(), Person.of(phone, email), who)
    run_id = f"erase__{taken.id}"
    try:
        trigger_dag(
            DAG,
            triggered_by=DagRunTriggeredByType.REST_API,
            triggering_user_name=who,
            run_id=run_id,
            conf={"request": taken.id},
        )
    except (AirflowException, ValueError) as error:
        requests.forget(taken.id)
        raise HTTPException(
            503,
            f"The run of {DAG} could not be started ({type(error).__name__}). Nothing was kept; try again.",
        ) from None
    except BaseException:
        requests.forget(taken.id)
        raise
    return taken, run_id
