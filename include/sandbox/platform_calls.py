"""Activities, dialler calls and media of the Platform API (1, 2, 5 to 7, 20, 21)."""

from __future__ import annotations

import base64
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from include.sandbox.gate import json_response
from include.sandbox.history import History
from include.sandbox.pages import Pager
from include.sandbox.platform_request import found, integer, moment, text, within
from include.sandbox.shapes import Shapes
from include.sandbox.switches import PlatformSwitches

RECORDING: Final = b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(256)
"""What every recording holds: an empty MP3 tag and silence."""


class Calls:
    """What happened, and what was recorded of it."""

    def __init__(self, history: History, shapes: Shapes, pager: Pager, switches: PlatformSwitches) -> None:
        self._history = history
        self._shapes = shapes
        self._pager = pager
        self._switches = switches

    async def get_activity(self, request: Request) -> Response:
        """Answer one activity (1)."""
        return json_response(self._shapes.activity(found(self._history.activity(request.path_params["id"]))))

    async def list_activities(self, request: Request) -> Response:
        """Answer a page of activities (2)."""
        campaign, lead = integer(request, "campaignId"), integer(request, "leadId")
        start, end = moment(request, "createdTimestampFrom"), moment(request, "createdTimestampTo")
        kind = text(request, "activityType")
        walk = self._pager.walk(request)
        activities = (
            activity
            for activity in self._history.activities(walk.after, lead, start, end)
            if campaign in (None, activity.campaign_id)
            and kind in (None, activity.kind)
            and within(activity.created, start, end)
        )
        return await self._pager.answer(
            request, walk, activities, lambda activity: activity.activity_id, self._shapes.activity
        )

    async def get_attempt(self, request: Request) -> Response:
        """Answer one dialler call (20)."""
        return json_response(self._shapes.attempt(found(self._history.attempt(request.path_params["id"]))))

    async def list_attempts(self, request: Request) -> Response:
        """Answer a page of dialler calls (21)."""
        campaign, lead = integer(request, "campaignId"), integer(request, "leadId")
        start, end = moment(request, "dialledTimestampFrom"), moment(request, "dialledTimestampTo")
        walk = self._pager.walk(request)
        calls = (
            call
            for call in self._history.attempts(walk.after, lead, start, end)
            if campaign in (None, call.campaign_id) and within(call.created, start, end)
        )
        return await self._pager.answer(
            request, walk, calls, lambda call: call.attempt_id or 0, self._shapes.attempt
        )

    async def get_media(self, request: Request) -> Response:
        """Answer the bytes of a recording or a voicemail (5); what was deleted answers 404."""
        media_id = request.path_params["id"]
        call = self._history.recorded(media_id)
        if call is None or self._shapes.deleted(call) is not None:
            call = self._history.left(media_id)
        if call is None:
            raise HTTPException(404, "The medium does not exist.")
        if self._switches.media_as_json:
            return json_response(base64.b64encode(RECORDING).decode())
        return Response(RECORDING, media_type="audio/mpeg")

    async def get_voicemail(self, request: Request) -> Response:
        """Answer what is known of a voicemail (6)."""
        found(self._history.left(request.path_params["id"]))
        return json_response(self._shapes.medium(request.path_params["id"]))

    async def get_recording(self, request: Request) -> Response:
        """Answer what is known of a recording, deleted or not (7)."""
        call = found(self._history.recorded(request.path_params["id"]))
        return json_response(self._shapes.recording(call))
