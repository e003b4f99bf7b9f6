"""What the Platform API writes: leads, lists, media, activities, calls (section 3, PL-5 to PL-10)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from include.sandbox.data import ZONE, Lead
from include.sandbox.switches import PlatformSwitches
from include.sandbox.tenant import AGENTS, CAMPAIGNS, DELETED_RECORDING, LISTS, STATUSES, Activity

Json = dict[str, Any]

PREFIX: Final = "/platform-api"
LONG_AGO: Final = datetime(2020, 7, 6, 13, 55, 6, tzinfo=ZONE)
"""When everything that has no date of its own was made."""


class Shapes:
    """Writes the tenant's things as JSON objects, as the switches want them."""

    def __init__(self, switches: PlatformSwitches) -> None:
        self._switches = switches

    def stamp(self, moment: datetime | None) -> str | None:
        """Write a time with the tenant's offset."""
        if moment is None:
            return None
        if self._switches.offset_without_colon:
            return moment.astimezone(ZONE).strftime("%Y-%m-%dT%H:%M:%S%z")
        return moment.astimezone(ZONE).isoformat(timespec="seconds")

    def lead(self, lead: Lead) -> Json:
        """Write a lead (15, PL-10)."""
        list_name, campaign_id = LISTS[lead.list_id]
        return {
            "leadId": lead.lead_id,
            "campaignId": campaign_id,
            "campaignName": CAMPAIGNS[campaign_id],
            "listId": lead.list_id,
            "listName": list_name,
            "timezone": lead.timezone,
            "completed": lead.completed,
            "customerKey": lead.customer_key,
            "agentId": lead.agent_id,
            "agentFullName": AGENTS[lead.agent_id] if lead.agent_id else None,
            "dataFields": lead.data,
            "lastStatusCode": lead.status_code,
            "lastStatusDescription": None if lead.status_code is None else STATUSES[lead.status_code],
            "phones": [
                {
                    "phoneIndex": index,
                    "phoneNumber": phone,
                    "dialAttempts": int(index == 1 and lead.last_attempt is not None),
                }
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
        name, campaign_id = LISTS[list_id]
        created = self.stamp(LONG_AGO)
        return {
            "id": list_id,
            "name": name,
            "campaignId": campaign_id,
            "campaignName": CAMPAIGNS[campaign_id],
            "inDialler": True,
            "weight": 1,
            "timestamps": {"created": created, "updated": created},
        }

    def medium(self, media_id: int) -> Json:
        """Write what every medium has (6)."""
        prefix = "" if self._switches.uri_without_prefix else PREFIX
        return {"mediaId": media_id, "mediaUri": f"{prefix}/v3.0/media/{media_id}", "duration": 9}

    def recording(self, call: Activity) -> Json:
        """Write a recording (7); the last three fields are there when it was deleted."""
        deleted = call.recording == DELETED_RECORDING
        about = {**self.medium(call.recording), "deleted": deleted}
        if deleted:
            about["deletedTimestamp"] = self.stamp(call.created)
            about["deletedBy"] = 1059
            about["deletionReason"] = "Removal reason"
        return about

    def activity(self, call: Activity) -> Json:
        """Write an activity (1 and the unfolded sample)."""
        created = self.stamp(call.created)
        data: Json = {
            "durations": {"ivr": 4, "queue": 6, "hold": 0, "interaction": 30, "wrap": 5, "talk": 30},
            "timestamps": dict.fromkeys(("created", "joinQueue", "answered", "hangUp", "wrapUp"), created),
            "activityId": call.activity_id,
            "parentActivityId": None,
            "rootActivityId": call.activity_id,
            "activityStatusId": 3,
            "activityStatusName": "Answered",
            "source": "18005550100" if call.attempt_id else call.number,
            "destination": call.number if call.attempt_id else "18005550100",
            "campaignId": call.campaign_id,
            "campaignName": CAMPAIGNS[call.campaign_id],
            "agentInteractionId": call.activity_id + 10_000,
            "agentId": call.agent_id,
            "agentFullName": AGENTS[call.agent_id],
            "wrapCode": 1,
            "wrapDescription": "Resolved",
            "recordingStatus": "enabled",
            "recordingMetadata": self.recording(call),
            "voicemailMetadata": [self.medium(call.voicemail)] if call.voicemail else [],
            "survey": {"started": False, "startTimestamp": None, "workflowId": None, "workflowName": None},
            "callQualityScore": None,
        }
        if call.attempt_id:
            data["durations"] = {"dial": 8, "interaction": 30, "wrap": 5}
            data |= self._dial(call)
        return {"type": call.kind, "data": data}

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
            "dialStatusId": 1,
            "dialStatusName": "Answered",
            "phoneIndex": 1,
            "phoneNumber": call.number,
            "leadId": call.lead_id,
        }
