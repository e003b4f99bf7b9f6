"""The pages under Airflow's own login: lists and loads, one run, and its files.

A person sees what belongs to the DAGs that Airflow lets them read. Each page is built from what is there: the
ledger, and whichever files the run has left so far.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path as LocalPath
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from upath import UPath

from include import settings
from include.flow_files import deliveries
from include.house.told import removed, removed_markdown, run_removed
from include.leads.schema import STATES
from include.ledger import Batch, Ledger, Load
from include.report.plan import PLAN_TITLE
from include.report.reasons import REJECTS_TITLE
from include.report.run import report_markdown
from include.resend import load_problem
from include.staging import RunFolder, slug
from include.storage import open_place
from listkeeper.hooks.ledger import open_ledger
from listkeeper.links import PREFIX

SHOWN_LOADS: Final = 50
SHOWN_BATCHES: Final = 100
SEARCHED_LOADS: Final = 500
NOTHING_HERE: Final = "There is no such page."

FILES: Final = {
    "report.md": ("report", "text/plain; charset=utf-8"),
    "rejects.xlsx": ("report", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    "rejects.csv": ("report", "text/csv; charset=utf-8"),
    "plan.json": ("plan", "application/json"),
    "certificate.md": ("certificate", "text/plain; charset=utf-8"),
}
"""Name of a file that can be read -> the step that leaves it, and its type."""

DOWNLOADS: Final = ("rejects.xlsx", "rejects.csv")
ANCHORS: Final = {PLAN_TITLE: "plan", REJECTS_TITLE: "rejects"}
TONES: Final = {"done": "good", "refused": "warn", "failed": "bad", "uncertain": "bad"}

DagId = Annotated[str, Path(pattern=r"^[\w-]+(\.[\w-]+)*$", max_length=250)]
RunSlug = Annotated[str, Path(pattern=r"^[\w-]+$", max_length=60)]

router = APIRouter()
templates = Environment(
    loader=FileSystemLoader(LocalPath(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# html off: whatever a report quotes stays text.
markdown = MarkdownIt("commonmark", {"html": False}).enable("table")


@router.get("/", dependencies=[Depends(requires_access_dag("GET"))])
def index(request: Request, user: GetUserDep) -> HTMLResponse:
    """Show every list, and the loads opened last."""
    ledger = open_ledger()
    recent = ledger.loads(SEARCHED_LOADS)
    targets = ledger.targets()
    applied = {t.applied_load_id: ledger.load(t.applied_load_id) for t in targets if t.applied_load_id}
    visible = _readable(user, {load.dag_id for load in [*recent, *applied.values()]})
    loads = [load for load in recent if load.dag_id in visible]
    own = {load.target for load in [*loads, *applied.values()] if load.dag_id in visible}
    return page(
        request,
        "index.html",
        paused_vendors=ledger.paused_vendors(),
        targets=[(t, applied.get(t.applied_load_id or "")) for t in targets if t.key in own],
        flows={load.target: load.flow for load in [*applied.values(), *reversed(loads)]},
        uncertain={load.target: load for load in reversed(loads) if load.state == "uncertain"},
        loads=loads[:SHOWN_LOADS],
    )


@router.get("/runs/{dag_id}/{run_slug}", dependencies=[Depends(requires_access_dag("GET"))])
def run(request: Request, dag_id: DagId, run_slug: RunSlug) -> HTMLResponse:
    """Show one run, however far it came."""
    ledger = open_ledger()
    plan, summary = (
        _json(dag_id, run_slug, *file) for file in (("plan", "plan.json"), ("report", "summary.json"))
    )
    load = load_of(ledger, dag_id, run_slug, summary.get("load"))
    files = [name for name, (step, _) in FILES.items() if name in _folder(dag_id, run_slug, step).names()]
    gone = run_removed(ledger, f"runs/{dag_id}/{run_slug}")
    if not (plan or summary or load or files):
        raise HTTPException(404, gone or "This run has left nothing here yet, or there is no such run.")
    batches = ledger.batches(load.id) if load else []
    texts = (_folder(dag_id, run_slug, FILES[name][0]).get(name) for name in ("report.md", "certificate.md"))
    written = next((found for found in texts if found is not None), None)
    if written is not None:
        text = written.decode()
    elif gone and not summary:
        text = removed_markdown(load, plan, gone)
    else:
        text = report_markdown(plan, summary, [], [asdict(batch) for batch in batches])
    return page(
        request,
        "run.html",
        dag_id=dag_id,
        run_slug=run_slug,
        load=load,
        batches=[(batch, ledger.events(batch.load_id, batch.seq)) for batch in _shown(batches)],
        more_batches=len(batches) - len(_shown(batches)),
        counts={state: summary[state] for state in STATES if summary.get(state)},
        files=files,
        report=_html(text),
        fixable=load is not None and bool(summary.get("rejected")) and _fixable(ledger, load),
    )


def _fixable(ledger: Ledger, load: Load) -> bool:
    """Whether rejects of a load can be fixed and sent again."""
    flow = next((flow for flow in deliveries() if flow.dag_id == load.dag_id), None)
    return flow is not None and load_problem(ledger, flow, load) is None


@router.get("/runs/{dag_id}/{run_slug}/files/{name}", dependencies=[Depends(requires_access_dag("GET"))])
def file(dag_id: DagId, run_slug: RunSlug, name: str) -> Response:
    """Send one file that the run left."""
    if name not in FILES:
        raise HTTPException(404, NOTHING_HERE)
    step, media_type = FILES[name]
    if name not in _folder(dag_id, run_slug, step).names():
        place = _folder(dag_id, run_slug, step).path
        gone = removed(open_ledger(), f"The files of the step {step}, {name} among them,", place)
        raise HTTPException(404, gone or f"This run has left no {name} yet.")
    place = "attachment" if name in DOWNLOADS else "inline"
    return StreamingResponse(
        _content(open_place(settings.staging_url()) / _folder(dag_id, run_slug, step).path / name),
        media_type=media_type,
        headers={"Content-Disposition": f'{place}; filename="{name}"'},
    )


def _shown(batches: list[Batch]) -> list[Batch]:
    """The batches of a page: all, or of very many the unfinished and odd ones."""
    if len(batches) <= SHOWN_BATCHES:
        return batches
    return [b for b in batches if b.state != "confirmed" or b.delivered != b.rows][:SHOWN_BATCHES]


def message(request: Request, status: int, text: str) -> HTMLResponse:
    """A page that says one sentence."""
    return page(request, "message.html", status, text=text)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from its template."""
    root = str(request.scope.get("root_path", ""))
    html = templates.get_template(template).render(
        root=root,
        # Airflow's frame may not leave itself: a link to Airflow would open Airflow in the frame.
        airflow=None if request.headers.get("sec-fetch-dest") == "iframe" else root.removesuffix(PREFIX),
        now=datetime.now(UTC),
        tones=TONES,
        states=STATES,
        slug=slug,
        **values,
    )
    return HTMLResponse(html, status)


def refuse_other_sites(request: Request) -> None:
    """Refuse a form that another site sends: it comes without the log-in's cookie, or says where it comes from."""
    origin = request.headers.get("origin")
    foreign = origin and urlsplit(origin).netloc != request.headers.get("host")
    if foreign or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "This form was sent by another site.")


def _readable(user: BaseUser, dag_ids: set[str]) -> set[str]:
    """Those of the DAGs that this person may read."""
    teams = DagModel.get_dag_id_to_team_name_mapping(list(dag_ids)) if dag_ids else {}
    manager = get_auth_manager()
    return {
        dag_id
        for dag_id in dag_ids
        if manager.is_authorized_dag(
            method="GET", details=DagDetails(id=dag_id, team_name=teams.get(dag_id)), user=user
        )
    }


def _folder(dag_id: str, run_slug: str, step: str) -> RunFolder:
    return RunFolder(f"runs/{dag_id}/{run_slug}/{step}")


def _json(dag_id: str, run_slug: str, step: str, name: str) -> dict[str, Any]:
    raw = _folder(dag_id, run_slug, step).get(name)
    return dict(json.loads(raw)) if raw is not None else {}


def load_of(ledger: Ledger, dag_id: str, run_slug: str, load_id: str | None = None) -> Load | None:
    """The run's load. The address holds no run id, so the flow's last loads are searched when nothing names it."""
    for load in ledger.loads(SEARCHED_LOADS, flow=dag_id.partition("__")[2]):
        if load.id == load_id or (load.dag_id, slug(load.run_id)) == (dag_id, run_slug):
            return load
    return None


def _html(text: str) -> Markup:
    """Markdown as HTML, with the anchors that the links on tasks point at."""
    tokens = markdown.parse(text)
    for heading, words in pairwise(tokens):
        if heading.type == "heading_open" and words.content in ANCHORS:
            heading.attrSet("id", ANCHORS[words.content])
    return Markup(markdown.renderer.render(tokens, markdown.options, {}))  # noqa: S704 - escaped by the renderer


def _content(path: UPath) -> Iterator[bytes]:
    with path.open("rb") as opened:
        while chunk := opened.read(1 << 16):
            yield chunk
