"""The steps of `erase_customer`: look what would go, ask a second person, erase, certify.

Number and address come out of the sealed request inside the steps, and go nowhere else: not into XCom, logs, rendered
fields or the run's conf.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.approval import Approval, person_problem
from listkeeper.masking import Masked
from listkeeper.operators.approval import why_param
from listkeeper.operators.run import refuse_unknown_params, run_folder

if TYPE_CHECKING:
    from airflow.sdk import Context

    from include.erasure.requests import Request
    from include.ledger import Ledger
    from include.staging import RunFolder

TIMEOUT: Final = timedelta(hours=72)
APPROVED: Final = "erasure_approved"
REFUSED: Final = "erasure_refused"
ERASED: Final = "erased"
COUNTS: Final = "counts.json"


class ErasureOperator(Masked, BaseOperator):
    """
    Base of the steps.

    :param request: id of the request, as the page gave it. (templated)
    """

    template_fields: Sequence[str] = ("request",)

    def __init__(self, *, request: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.request = request

    def opened(self) -> Request:
        """The request with its number and address. A request that cannot be opened fails the task."""
        from include.erasure.keys import ErasureKeyError
        from include.erasure.requests import UnknownRequestError, read
        from listkeeper.hooks.erasure import erasure_key

        try:
            return read(erasure_key(), str(self.request))
        except (ErasureKeyError, UnknownRequestError) as error:
            raise AirflowFailException(str(error)) from None

    def requester(self, context: Context, request: Request) -> set[str]:
        """Everybody who asked: on the page, and by starting the run."""
        return {
            name
            for name in (request.requested_by, getattr(context["dag_run"], "triggering_user_name", None))
            if name
        }


class PreviewErasureOperator(ErasureOperator):
    """
    Count what names the customer, without changing anything.

    Returns `{"request", "who", "leads", "page"}`: the id, the customer masked, how many of our leads are theirs, and
    the hash of what a person is shown.

    :param request: as for ErasureOperator. (templated)
    """

    def execute(self, context: Context) -> dict[str, Any]:
        from include.erasure.certificate import places, sent_by
        from include.erasure.sweep import Sweep
        from listkeeper.hooks.erasure import erasure_key

        refuse_unknown_params(context["dag_run"], self.dag.params)
        request = self.opened()
        sweep = Sweep(request.person, key=erasure_key())
        found = sweep.look()
        counts = {
            "who": request.person.masked,
            "leads": len(sweep.lead_ids),
            "staging": places(found),
            "sent_by": sent_by(found),
        }
        run_folder(context, "preview").put(COUNTS, json.dumps(counts).encode())
        self.log.info(
            "%d staged folders name the customer; %d leads are known.", len(found), len(sweep.lead_ids)
        )
        return {
            "request": request.id,
            "who": counts["who"],
            "leads": counts["leads"],
            "page": digest(request, counts),
        }


def digest(request: Request, counts: dict[str, Any]) -> str:
    """What an approval is bound to: this request, and what was shown of it."""
    told = json.dumps([request.id, counts], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def shown(context: Context) -> dict[str, Any]:
    """What the preview counted."""
    counts: dict[str, Any] = json.loads(run_folder(context, "preview").get(COUNTS) or b"{}")
    if not counts:
        raise AirflowFailException("The preview is gone. Clear the task preview.")
    return counts


class ApproveErasureOperator(ErasureOperator, ApprovalOperator):
    """
    Ask a second person, in Airflow's Required Actions, and wait without a worker.

    Who asked for the erasure may not approve it. A rejection and no answer end the request: number and address are
    forgotten, nothing is erased. The answer goes into the evidence, where the next step looks it up.

    :param request: as for ErasureOperator. (templated)
    """

    template_fields: Sequence[str] = ("request",)

    def __init__(self, *, request: str, **kwargs: Any) -> None:
        super().__init__(request=request, subject="Erase a customer?", response_timeout=TIMEOUT, **kwargs)
        self.params = ParamsDict({"why": why_param(needed=False)})

    def execute(self, context: Context) -> Any:
        from include.erasure.certificate import places_table

        request, counts = self.opened(), shown(context)
        asked = ", ".join(f"`{name}`" for name in sorted(self.requester(context, request)))
        self.subject = f"Erase a customer ({counts['who']}) for good?"
        self.body = "\n\n".join(
            [
                "**Approve** erases the customer at the Platform API and in everything Listkeeper has staged. Nothing "
                f"brings it back. **Reject** erases nothing, and neither does no answer within {TIMEOUT.days} days.",
                f"{asked or 'Nobody'} asked for it, so somebody else has to answer. Compare the request "
                f"`{request.id}` with the paper it came from.",
                f"{counts['leads']} leads of the Platform that we know of are this customer's. Staged:",
                places_table(counts["staging"]),
                f"Planned with this customer: {', '.join(f'`{dag}`' for dag in counts['sent_by']) or 'nothing'}.",
            ]
        )
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the answer; whatever is not a person's approval that counts fails the task."""
        from include.erasure.requests import forget
        from listkeeper.hooks.ledger import open_ledger

        ledger, request = open_ledger(), self.opened()
        who = (event.get("responded_by_user") or {}).get("name")
        why = str((event.get("params_input") or {}).get("why") or "").strip()[:300] or None
        if why and request.person.in_text(why):
            why = "(a reason that named the customer)"
        told = {"page": digest(request, shown(context)), "who": who, "why": why}
        if event.get("error"):
            if event.get("error_type") != "timeout":
                raise AirflowFailException("Airflow could not take the answer. Clear this task to ask again.")
            forget(request.id)
            ledger.record(REFUSED, request.id, told | {"why": "nobody answered"})
            raise AirflowFailException("Nobody answered in time, and no answer means no. Nothing was erased.")
        if event["chosen_options"] != [self.APPROVE]:
            forget(request.id)
            ledger.record(REFUSED, request.id, told)
            raise AirflowFailException(f"{who or 'Somebody'} rejected the erasure. Nothing was erased.")
        problem = approver_problem(self.requester(context, request), who)
        if problem is not None:
            raise AirflowFailException(f"{problem} Nothing was erased. Clear this task to ask again.")
        ledger.record(APPROVED, request.id, told)
        return {"approved_by": who}


def approver_problem(asked: set[str], who: str | None) -> str | None:
    """Why this person's approval does not count, None when it does."""
    problems = (person_problem(Approval(), name, who) for name in [*sorted(asked), None])  # type: ignore[call-arg]
    return next((problem for problem in problems if problem), None)


class EraseCustomerOperator(ErasureOperator):
    """
    Erase the customer and certify it: suppressed first, then the Platform, everything staged, the ledger.

    Looks the approval up in the evidence. Every step is noted when it is done, so that a try after a crash goes on
    there and loses no count. Afterwards the request is forgotten.

    Returns the certificate, which holds no personal data.

    :param request: as for ErasureOperator. (templated)
    :param connections: Platform connections to erase at.
    """

    def __init__(self, *, connections: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.connections = tuple(connections)

    def execute(self, context: Context) -> dict[str, Any]:
        from include.erasure.certificate import CERTIFICATE, page, places, sent_by
        from include.erasure.erased import remember
        from include.erasure.requests import folder_of, forget
        from include.erasure.sweep import Sweep
        from include.staging import Manifest
        from listkeeper.hooks.erasure import erasure_key
        from listkeeper.hooks.ledger import open_ledger

        ledger, out = open_ledger(), run_folder(context, CERTIFICATE)
        if certified := ledger.records(ERASED, str(self.request)) if out.exists() else []:
            forget(str(self.request))  # an earlier try ended, and died before it could say so
            return {**certified[-1], "certificate": out.path}
        request = self.opened()
        approved_by = self._approval(context, ledger, request)
        self._require_quiet(ledger)
        notes = folder_of(request.id)
        hashes = remember(erasure_key(), request.id, request.person)
        lead_ids = self._lead_ids(request, notes)
        platform = {name: self._erase_at(name, request, lead_ids, notes) for name in self.connections}
        found = Sweep(request.person, notes, erasure_key()).remove()
        in_ledger = self._in_ledger(ledger, request, notes)
        left = Sweep(request.person, key=erasure_key()).look()
        if left:
            raise AirflowException(
                f"{len(left)} staged folders name the customer again: a run wrote them meanwhile. Trying again."
            )
        told = {
            "request": request.id,
            "requested_by": request.requested_by,
            "approved_by": approved_by,
            "finished_at": datetime.now(UTC).isoformat(),
            "hashes": hashes,
            "platform": platform,
            "staging": places(found),
            "sent_by": sent_by(found),
            "ledger": in_ledger,
            "left": len(left),
        }
        with out.writing() as scratch:
            (scratch / "certificate.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
            (scratch / "certificate.md").write_text(page(told), encoding="utf-8")
            out.commit(scratch, Manifest(kind=CERTIFICATE, rows=0, facts={"request": request.id}))
        ledger.record(ERASED, request.id, told)
        forget(request.id)
        self.log.info("Erased. The certificate is in %s.", out.path)
        return {**told, "certificate": out.path}

    def _approval(self, context: Context, ledger: Ledger, request: Request) -> str:
        """Who approved exactly what the preview shows now."""
        page = digest(request, shown(context))
        answers = [told for told in ledger.records(APPROVED, request.id) if told["page"] == page]
        who = answers[-1]["who"] if answers else None
        problem = approver_problem(self.requester(context, request), who)
        if problem is not None:
            raise AirflowFailException(f"{problem} Nothing was erased. Clear the task approve to ask.")
        return str(who)

    def _require_quiet(self, ledger: Ledger) -> None:
        """A load that is being sent reads the files that this step changes."""
        sending = [target.key for target in ledger.targets() if target.lock_load_id and _held(target)]
        if sending:
            raise AirflowException(f"{', '.join(sending)} is being loaded. Trying again when that has ended.")

    def _lead_ids(self, request: Request, notes: RunFolder) -> list[int]:
        """Ids of the customer's leads, as they were staged before anything was removed."""
        from include.erasure.sweep import Sweep
        from listkeeper.hooks.erasure import erasure_key

        kept = notes.get("leads.json")
        if kept is None:
            sweep = Sweep(request.person, key=erasure_key())
            sweep.look()
            kept = json.dumps(sorted(sweep.lead_ids)).encode()
            notes.put("leads.json", kept)
        ids: list[int] = json.loads(kept)
        return ids

    def _erase_at(
        self, connection: str, request: Request, lead_ids: list[int], notes: RunFolder
    ) -> dict[str, Any]:
        """The Platform's own erasure, and what it left of the leads that we know of."""
        from include.staging import slug
        from include.vendors.errors import LostAnswerError
        from include.vendors.platform import NotFoundError
        from listkeeper.hooks.platform import PlatformHook

        done, asked = f"platform-{slug(connection)}.json", f"platform-{slug(connection)}.asked"
        kept = notes.get(done)
        if kept is not None:
            return dict(json.loads(kept))
        lost = notes.get(asked) is not None
        notes.put(asked, b"")
        hook = PlatformHook(connection)
        try:
            erased = hook.delete_customer(phone=request.person.phone, email=request.person.email)
            one_by_one = 0
            for lead_id in lead_ids:
                try:
                    lead = hook.get_lead(lead_id)
                except NotFoundError:
                    continue
                if request.person.in_text(json.dumps(lead, ensure_ascii=False)):
                    hook.delete_lead(lead_id)
                    one_by_one += 1
        except LostAnswerError as error:
            # Erasing twice erases no more than once: ask again, and say so in the certificate.
            raise AirflowException(f"{error} Asking again.") from None
        finally:
            hook.close()
        told = {
            "calls": erased.calls,
            "emails": erased.emails,
            "leads": erased.leads,
            "one_by_one": one_by_one,
            "lost": lost,
        }
        notes.put(done, json.dumps(told).encode())
        return told

    @staticmethod
    def _in_ledger(ledger: Ledger, request: Request, notes: RunFolder) -> dict[str, int]:
        kept: dict[str, int] = json.loads(notes.get("ledger.json") or b"{}")
        found = ledger.erase(request.person.in_text)
        told = {
            name: found.get(name, 0) + kept.get(name, 0) for name in {**kept, **found} if name != "evidence"
        }
        notes.put("ledger.json", json.dumps(told).encode())
        return told | ({"evidence": found["evidence"]} if "evidence" in found else {})


def _held(target: Any) -> bool:
    return target.lock_until is not None and target.lock_until > datetime.now(UTC)
