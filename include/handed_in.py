"""A handed-in snapshot: leads that a person asked to deliver, given to a list's own delivery as if they were a night.

`restore_list` and `resend_rejects` write one into the folder of a run that does not exist yet, and then start that run:
the id of a run of theirs begins with `restore__` or `resend__`. The delivery takes it up instead of a night's snapshot,
and everything behind that (hygiene, plan, guards, approval, fence, reconciliation) is as on any night.

What the run may do, who asked and why stands in the manifest and, once for ever, in the evidence; never in the
run's parameters, which anybody can write and which can get lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from include.masking import mask
from include.staging import Manifest, RunFolder, run_path, slug

if TYPE_CHECKING:
    from include.ledger import Ledger

Kind = Literal["restore", "resend"]
KINDS: Final[tuple[Kind, ...]] = ("restore", "resend")
STEP: Final = "handed_in"
EVIDENCE: Final = "handed_in"


class HandedInError(ValueError):
    """A run has the id of a handed-in snapshot, and there is none, or another one; the message says what to do."""


@dataclass(frozen=True)
class Order:
    """What a person asked for.

    :param dag_id: the delivery, and `run_id` its run, that this is for; no other takes it up.
    :param of: id of the load whose rows these are; of a resend of a resend: of the first.
    :param load: id of the load that was chosen.
    :param night: the night that it counts as.
    :param source_time: what the fence compares, ISO 8601.
    :param text: what is asked for, as a sentence for whoever approves it.
    :param rows: leads handed in, `fixed` of them named by a person; `refused`: rows of the person's file that were not
        taken.
    """

    kind: Kind
    dag_id: str
    run_id: str
    flow: str
    target: str
    of: str
    load: str
    night: str | None
    source_time: str
    requested_by: str | None
    reason: str
    text: str
    rows: int
    fixed: int = 0
    refused: int = 0


def run_id_of(kind: Kind, asking_run: str) -> str:
    """Id of the delivery's run that a run of ours starts; the same at every try."""
    return f"{kind}__{slug(asking_run)}"


def kind_of(run_id: str) -> Kind | None:
    """Which kind of handed-in snapshot a run takes up, by its id; None for every other run."""
    return next((kind for kind in KINDS if run_id.startswith(f"{kind}__")), None)


def folder_of(dag_id: str, run_id: str) -> RunFolder:
    """Where the snapshot lies that was handed in for a run."""
    return RunFolder(run_path(dag_id, run_id, STEP))


def hand_in(ledger: Ledger, order: Order, facts: dict[str, Any], write: Callable[[Path], int]) -> Order:
    """Commit the snapshot and put the order into the evidence, once: what was handed in before stays as it is.

    :param order: its `rows` are filled in here.
    :param facts: what else the manifest says, such as the mode of the snapshot that the leads come from.
    :param write: writes `part-*.parquet` of leads into a folder and returns how many.
    """
    folder = folder_of(order.dag_id, order.run_id)
    if not folder.exists():
        with folder.writing() as scratch:
            rows = write(scratch)
            # Masked as the evidence masks it, so that the two stay alike.
            told = asdict(order) | {"rows": rows, "reason": mask(order.reason), "text": mask(order.text)}
            folder.commit(
                scratch,
                Manifest(
                    kind="snapshot",
                    rows=rows,
                    source_time=datetime.fromisoformat(order.source_time),
                    night=order.night,
                    facts=facts | {"handed_in": told},
                ),
            )
    kept = _order(folder)
    if asdict(kept) not in ledger.records(EVIDENCE, kept.of):
        ledger.record(EVIDENCE, kept.of, asdict(kept))
    return kept


def taken_up(ledger: Ledger, dag_id: str, run_id: str, started_by: str | None) -> tuple[Order, RunFolder]:
    """What was handed in for a run whose id says that something was, as the evidence has it.

    Raises HandedInError when there is nothing, when somebody else started the run, and when manifest and evidence
    differ.

    :param started_by: who started the run, as Airflow says; None when it does not.
    """
    folder = folder_of(dag_id, run_id)
    kind = kind_of(run_id)
    asks = DAGS[kind or "restore"]
    if not folder.exists():
        raise HandedInError(
            f"Runs named {kind}__... deliver what {asks} has handed in, and nothing was handed in for this one. Start "
            f"{asks}; for a night's snapshot start this DAG without a run id of your own."
        )
    order = _order(folder)
    if (order.dag_id, order.run_id, order.kind) != (dag_id, run_id, kind) or asdict(
        order
    ) not in ledger.records(EVIDENCE, order.of):
        raise HandedInError(
            "What lies in this run's folder is not what was handed in for it, by the evidence. Nothing was sent. Start "
            f"{asks} again."
        )
    if started_by not in (None, order.requested_by):
        raise HandedInError(
            f"{order.requested_by or 'Nobody named'} asked for this and {started_by} started the run by its id. Start "
            f"{asks} yourself."
        )
    return order, folder


DAGS: Final[dict[str, str]] = {"restore": "restore_list", "resend": "resend_rejects"}
"""The DAG that hands in."""


def _order(folder: RunFolder) -> Order:
    told = folder.manifest().facts.get("handed_in")
    try:
        return Order(**told)  # type: ignore[arg-type]
    except TypeError:
        raise HandedInError(f"{folder.path} holds no handed-in snapshot.") from None
