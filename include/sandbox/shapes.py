"""What the Platform API writes: leads, lists, media, activities, calls (section 3, PL-5 to PL-10)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from include.sandbox.data import ZONE, Lead
from include.sandbox.history import (
    ANSWERED,
    DELETED_RECORDING,
    DIAL_STATUSES,
    WRAP_CODES,
    Activity,
    History,
    attempts,
)
from include.sandbox.pages import PREFIX
from include.sandbox.switches import PlatformSwitches
from include.sandbox.tenant import AGENTS, CAMPAIGNS, STATUSES, LeadList

Json = dict[str, Any]


class Shapes:
    """Writes the tenant's things as JSON objects, as the switches want them."""

    def __init__(self, switches: PlatformSwitches, lists: dict[int, LeadList], history: History) -> None:
        self._switches = switches
        self._lists = lists
        self._history = history

    def stamp(self, moment: datetime | None) -> str | None:
        """Write a time with the tenant's offset."""
        if moment is None:
            return None
        if self._switches.times_in_utc:
            return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self._switches.offset_without_colon:
            return moment.astimezone(ZONE).strftime("%Y-%m-%dT%H:%M:%S%z")
        return moment.astimezone(ZONE).isoformat(timespec="seconds")

    def lead(self, lead: Lead) -> Json:
        """Write a lead (15, PL-10)."""
        list_ = self._lists[lead.list_id]
        dialled = Counter(call.phone_index for call in attempts(lead)) if lead.last_attempt else Counter()
        return {
            "leadId": lead.lead_id,
            "campaignId": list_.campaign_id,
            "campaignName": CAMPAIGNS[list_.campaign_id],
            "listId": lead.list_id,
            "listName": list_.name,
            "timezone": lead.timezone,
            "completed": lead.completed,
            "customerKey": lead.customer_key,
            "agentId": lead.agent_id,
            "agentFullName": AGENTS[lead.agent_id] if lead.agent_id else None,
            "dataFields": lead.data,
            "lastStatusCode": lead.status_code,
            "lastStatusDescription": None if lead.status_code is None else STATUSES.get(lead.status_code),
            "phones": [
                {"phoneIndex": index, "phoneNumber": phone, "dialAttempts": dialled[index]}
                for index, phone in enumerate(lead.phones, 1)
                if phone is not None
            ],
            "outcomeType": "preview",
            "outcomesInfo": {},
            "timestamps": {
                "uploaded": self.stamp(lead.uploaded),
                "lastAttempt": self.stamp(lead.last_attempt),
                "nextAttempt": self.stamp(lead.next_attempt),
            },
        }

    def list(self, list_id: int) -> Json:
        """Write a list (14)."""
        list_ = self._lists[list_id]
        created = self.stamp(list_.created)
        return {
            "id": list_id,
            "name": list_.name,
            "campaignId": list_.campaign_id,
            "campaignName": CAMPAIGNS[list_.campaign_id],
            "inDialler": list_.in_dialler,
            "weight": 1,
            "timestamps": {"created": created, "updated": created},
        }

    def medium(self, media_id: int) -> Json:
        """Write what every medium has (6)."""
        prefix = "" if self._switches.uri_without_prefix else PREFIX
        return {"mediaId": media_id, "mediaUri": f"{prefix}/v3.0/media/{media_id}", "duration": 9}

    def recording(self, call: Activity) -> Json:
        """Write a recording (7); the last three fields are there when it was deleted."""
        deleted = self.deleted(call)
        about = {**self.medium(call.recording or 0), "deleted": deleted is not None}
        if deleted is not None:
            erased = self._history.erased(call) is not None
            about["deletedTimestamp"] = self.stamp(deleted)
            about["deletedBy"] = 1059
            about["deletionReason"] = "Customer details deleted" if erased else "Removal reason"
        return about

    def deleted(self, call: Activity) -> datetime | None:
        """Tell when the recording of a call was deleted, alone or with the customer; None if it was not."""
        return self._history.erased(call) or (call.created if call.recording == DELETED_RECORDING else None)

    def activity(self, call: Activity) -> Json:
        """Write an activity (1 and the unfolded sample)."""
        created = self.stamp(call.created)
        if call.kind == "email.inbound":
            return {"type": call.kind, "data": self._email(call, created)}
        answered = call.agent_id is not None
        data: Json = {
            "durations": {"ivr": 4, "queue": 6, "hold": 0, "interaction": 30, "wrap": 5, "talk": 30},
            "timestamps": {
                "created": created,
                **dict.fromkeys(("joinQueue", "answered", "hangUp", "wrapUp"), created if answered else None),
            },
            "activityId": call.activity_id,
            "parentActivityId": None,
            "rootActivityId": call.activity_id,
            "activityStatusId": 3 if answered else 4,
            "activityStatusName": "Answered" if answered else "Unanswered",
            "source": "18005550199" if call.attempt_id else call.number,
            "destination": call.number if call.attempt_id else "18005550199",
            "campaignId": call.campaign_id,
            "campaignName": CAMPAIGNS[call.campaign_id],
            "agentInteractionId": call.activity_id + 10_000 if answered else None,
            "agentId": call.agent_id,
            "agentFullName": AGENTS[call.agent_id] if call.agent_id else None,
            "wrapCode": call.wrap_code,
            "wrapDescription": WRAP_CODES[call.wrap_code] if call.wrap_code else None,
            "recordingStatus": "enabled" if call.recording else "disabled",
            "recordingMetadata": self.recording(call) if call.recording else None,
            "voicemailMetadata": [self.medium(call.voicemail)] if call.voicemail else [],
            "survey": {"started": False, "startTimestamp": None, "workflowId": None, "workflowName": None},
            "callQualityScore": None,
        }
        if call.attempt_id:
            talked = 30 if answered else 0
            data["durations"] = {"dial": 8, "interaction": talked, "wrap": 5 if answered else 0}
            data |= self._dial(call)
        return {"type": call.kind, "data": data}

    def _email(self, mail: Activity, created: str | None) -> Json:
        """Write an activity of a type that the contract does not describe."""
        return {
            "timestamps": {"created": created},
            "activityId": mail.activity_id,
            "parentActivityId": None,
            "rootActivityId": mail.activity_id,
            "source": mail.number,
            "campaignId": mail.campaign_id,
            "campaignName": CAMPAIGNS[mail.campaign_id],
            "leadId": mail.lead_id,
        }

    def attempt(self, call: Activity) -> Json:
        """Write a dialler call (20)."""
        return {
            **self._dial(call),
            "timestamps": {"dialled": self.stamp(call.created)},
            "type": call.kind,
            "campaignId": call.campaign_id,
            "campaignName": CAMPAIGNS[call.campaign_id],
            "activityId": call.activity_id,
            "parentActivityId": None,
            "rootActivityId": call.activity_id,
        }

    def _dial(self, call: Activity) -> Json:
        return {
            "attemptId": call.attempt_id,
            "dialStatusId": call.dial_status,
            "dialStatusName": DIAL_STATUSES[call.dial_status or ANSWERED],
            "phoneIndex": call.phone_index,
            "phoneNumber": call.number,
            "leadId": call.lead_id,
        }
