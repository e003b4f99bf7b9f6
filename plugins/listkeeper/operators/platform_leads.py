"""Platform API: single changes for DAGs of your own: one lead, an agent's presence, the download of a recording.

What changes something is written into the evidence before and after the call: ids and names of fields, never values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from listkeeper.masking import Masked

if TYPE_CHECKING:
    from airflow.sdk import Context

    from listkeeper.hooks.platform import PlatformHook


class PlatformOperator(Masked, BaseOperator):
    """
    Base of the operators that make one change.

    :param platform_conn_id: connection of type platform.
    """

    def __init__(self, *, platform_conn_id: str = "platform_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.platform_conn_id = platform_conn_id

    def hook(self) -> closing[PlatformHook]:
        """A hook that is closed at the end of a `with`."""
        from listkeeper.hooks.platform import PlatformHook

        return closing(PlatformHook(self.platform_conn_id))

    @contextmanager
    def recorded(self, kind: str, about: Mapping[str, Any]) -> Iterator[None]:
        """Write the intent into the evidence, and afterwards that it was done; neither holds a lead's values."""
        from listkeeper.hooks.ledger import open_ledger

        ledger = open_ledger()
        ledger.record(f"{kind}_intended", None, about)
        yield
        ledger.record(kind, None, about)


class CreateLeadOperator(PlatformOperator):
    """
    Create one lead, unless its list has one with its key: a task that is tried again makes no second one.

    Many leads are a push's business (`push_platform_leads`). Returns `{"lead_id", "created"}`.

    :param fields: fields for writing; `listId` and `customerKey` are needed, by them a lead is found again when an
        answer was lost. (templated; not shown in the UI, because they may hold a number or a name)
    """

    def __init__(self, *, fields: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fields = dict(fields)

    def execute(self, context: Context) -> dict[str, Any]:
        from include.vendors.platform import LeadFieldError, LeadQuery, id_in, lead_body

        try:
            body = lead_body(self.render_template(self.fields, context))
        except LeadFieldError as error:
            raise AirflowFailException(f"The lead was not created: {error}.") from None
        if not body.get("customerKey"):
            raise AirflowFailException("The lead was not created: customerKey is needed.")
        with self.hook() as hook:
            known = hook.find_leads(LeadQuery(listId=body["listId"], customerKey=body["customerKey"]))
            if known:
                return {"lead_id": id_in(known[0], "leadId"), "created": False}
            with self.recorded("lead_created", {"list_id": body["listId"], "fields": sorted(body)}):
                lead_id, _ = hook.create_lead(body)
        return {"lead_id": lead_id, "created": True}


class UpdateLeadOperator(PlatformOperator):
    """
    Change a lead, sending only the fields that differ from what the vendor shows now.

    A null among the values is refused: name a field in `clear` to empty it. Returns `{"lead_id", "changed"}`, the
    names of the fields that were sent; none, when the lead was so already.

    :param lead_id: the lead. (templated)
    :param fields: fields for writing, such as `{"statusCode": 3, "leadData": {"note": "x"}}`. (templated; not shown
        in the UI, because they may hold a number or a name)
    :param complete: whether the lead is completed. No lead can be reopened.
    :param clear: fields to empty, `leadData.<field>` for a free one; the others need `null_clears` in the connection.
    """

    template_fields: Sequence[str] = ("lead_id",)

    def __init__(
        self,
        *,
        lead_id: int | str,
        fields: Mapping[str, Any] | None = None,
        complete: bool = False,
        clear: Collection[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.lead_id = lead_id
        self.fields = dict(fields or {})
        self.complete = complete
        self.clear = tuple(clear)

    def execute(self, context: Context) -> dict[str, Any]:
        from include.vendors.platform import BadLeadError, LeadFieldError, update_body

        lead_id = _whole("lead_id", self.lead_id)
        fields = self.render_template(self.fields, context)
        with self.hook() as hook:
            current = hook.get_lead(lead_id)
            try:
                body = update_body(
                    current,
                    fields,
                    complete=self.complete,
                    clear=self.clear,
                    null_clears=hook.tenant.null_clears,
                )
            except (LeadFieldError, BadLeadError) as error:
                raise AirflowFailException(f"Lead {lead_id} was not changed: {error}.") from None
            if body:
                with self.recorded("lead_updated", {"lead_id": lead_id, "fields": sorted(body)}):
                    hook.update_lead(lead_id, body)
        self.log.info(
            "Lead %d: %s.", lead_id, f"sent {', '.join(sorted(body))}" if body else "nothing to change"
        )
        return {"lead_id": lead_id, "changed": sorted(body)}


class DeleteLeadOperator(PlatformOperator):
    """
    Delete a lead for good. Nothing brings it back, so it needs an explicit release and a reason.

    A lead that is gone already after a lost answer, or after a crash of this run, counts as deleted; one that was never
    there is an error.

    :param lead_id: the lead. (templated)
    :param reason: why, for the evidence; no names or numbers of customers. (templated)
    :param released: must be true; a DAG is written without it first, and looked at.
    """

    template_fields: Sequence[str] = ("lead_id", "reason")

    def __init__(
        self, *, lead_id: int | str, reason: str | None = None, released: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.lead_id = lead_id
        self.reason = reason
        self.released = released

    def execute(self, context: Context) -> dict[str, Any]:
        from listkeeper.hooks.ledger import open_ledger

        lead_id = _whole("lead_id", self.lead_id)
        if self.released is not True:
            raise AirflowFailException(
                f"Lead {lead_id} was not deleted: give `released=True` once you mean it; nothing brings a lead back."
            )
        if not (self.reason or "").strip():
            raise AirflowFailException(
                f"Lead {lead_id} was not deleted: give the reason; it goes into the evidence."
            )
        run, ledger = context["dag_run"], open_ledger()
        about = {
            "lead_id": lead_id,
            "reason": self.reason,
            "dag_id": run.dag_id,
            "run_id": run.run_id,
            "requested_by": getattr(run, "triggering_user_name", None),
        }
        with self.hook() as hook:
            if self._is_there(hook, lead_id, about):
                with self.recorded("lead_deleted", about):
                    hook.delete_lead(lead_id)
            elif about not in ledger.records("lead_deleted", None):
                ledger.record("lead_deleted", None, about)
        return {"lead_id": lead_id, "deleted": True}

    def _is_there(self, hook: PlatformHook, lead_id: int, about: dict[str, Any]) -> bool:
        """Whether the lead is there; NotFoundError where it is not, and no earlier try of this run has deleted it."""
        from include.vendors.platform import NotFoundError
        from listkeeper.hooks.ledger import open_ledger

        try:
            hook.get_lead(lead_id)
        except NotFoundError:
            # An intent is only written down when the lead was there.
            if about not in open_ledger().records("lead_deleted_intended", None):
                raise
            return False
        return True


class SetPresenceOperator(PlatformOperator):
    """
    Make an agent available, or not. Returns `{"agent_id", "available"}` as the vendor says it is afterwards.

    :param agent_id: the agent. (templated)
    :param available: whether the agent takes calls.
    """

    template_fields: Sequence[str] = ("agent_id",)

    def __init__(self, *, agent_id: int | str, available: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.agent_id = agent_id
        self.available = available

    def execute(self, context: Context) -> dict[str, Any]:
        agent_id = _whole("agent_id", self.agent_id)
        with self.hook() as hook:
            hook.session()
            with self.recorded("presence_set", {"agent_id": agent_id, "available": self.available}):
                now = hook.set_presence(agent_id, available=self.available)
        if now is not self.available:
            raise AirflowFailException(
                f"Agent {agent_id} is still {'available' if now else 'not available'}."
            )
        return {"agent_id": agent_id, "available": now}


class DownloadMediaOperator(PlatformOperator):
    """
    Download a recording or a voicemail into the run's folder in staging; its bytes never pass XCom.

    Returns `{"path", "file", "bytes", "sha256"}`: the run folder, and the file in it.

    :param media_id: the medium. (templated)
    """

    template_fields: Sequence[str] = ("media_id",)

    def __init__(self, *, media_id: int | str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.media_id = media_id

    def execute(self, context: Context) -> dict[str, Any]:
        from include.staging import Manifest
        from listkeeper.operators.run import run_folder

        media_id = _whole("media_id", self.media_id)
        with self.hook() as hook:
            media = hook.download_media(media_id)
        name = f"media-{media_id}{media.suffix}"
        index = context["ti"].map_index
        out = run_folder(context, self.task_id if index is None or index < 0 else f"{self.task_id}-{index}")
        with out.writing() as scratch:
            (scratch / name).write_bytes(media.content)
            manifest = out.commit(scratch, Manifest(kind="media", rows=1, facts={"media_id": media_id}))
        return {
            "path": out.path,
            "file": name,
            "bytes": manifest.files[name].bytes,
            "sha256": manifest.files[name].sha256,
        }


def _whole(name: str, value: int | str) -> int:
    """An id, which a template may give as text."""
    try:
        return int(value)
    except (TypeError, ValueError):
        raise AirflowFailException(f"{name} must be a whole number.") from None
