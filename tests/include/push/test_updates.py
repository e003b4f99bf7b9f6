"""Changing one lead: what is found, what is sent, and every way in which a row can end."""

from __future__ import annotations

from typing import Any

import pytest

from include.push.updates import GONE, NOT_CHANGED, NOT_EMPTIED, REPEATED, Changer
from include.push.verdict import REFUSED
from include.vendors.errors import LostAnswerError, RateLimitedError
from include.vendors.platform import FieldsRefusedError, LeadQuery, NotFoundError

CELLS = {"customerKey": "K-1", "phone1": "+12012000001", "phone2": "", "timezone": "", "leadData.state": "NY"}


def shown(**changes: Any) -> dict[str, Any]:
    lead = {
        "leadId": 7,
        "listId": 300,
        "customerKey": "K-1",
        "timezone": "America/New_York",
        "phones": [{"phoneIndex": 1, "phoneNumber": "+12012000001"}],
        "dataFields": {"state": "NJ", "note": "call back"},
    }
    return lead | changes


def refusal(words: str = "phone1: Must be a phone number or null.") -> FieldsRefusedError:
    return FieldsRefusedError("platform", "refused", words=words, http_status=400)


class Tenant:
    """A vendor with these leads; each call of the update ends as `ends` says, None: done."""

    def __init__(self, *leads: dict[str, Any], ends: tuple[Exception | None, ...] = (None,)) -> None:
        self.leads, self.ends, self.sent = list(leads), list(ends), []
        self.pages = {lead["leadId"]: lead for lead in leads if "leadId" in lead}

    def find_leads(self, query: LeadQuery) -> list[dict[str, Any]]:
        assert (query.listId, query.customerKey) == (300, "K-1")
        return self.leads

    def get_lead(self, lead_id: int) -> dict[str, Any]:
        if lead_id not in self.pages:
            raise NotFoundError("platform", "no lead", http_status=404)
        return self.pages[lead_id]

    def update_lead(self, lead_id: int, body: Any) -> None:
        self.sent.append((lead_id, dict(body)))
        end = self.ends.pop(0)
        if isinstance(end, NotFoundError) and getattr(end, "vanishes", False):
            self.leads = []
        if end is None or getattr(end, "arrives", False):
            self.leads = [shown(dataFields=body["leadData"])]
        if end is not None:
            raise end


def changed(tenant: Tenant, *, null_clears: bool = False, **cells: str) -> tuple[Any, Changer]:
    changer = Changer(tenant, 300, null_clears=null_clears)
    return changer.change(CELLS | cells), changer


def error(kind: type[Exception], **about: Any) -> Exception:
    made = kind("platform", "words", retry_after=1) if kind is RateLimitedError else kind("platform", "words")  # type: ignore[call-arg]
    for name, value in about.items():
        setattr(made, name, value)
    return made


def test_only_what_differs_is_sent_and_free_fields_keep_their_neighbours():
    tenant = Tenant(shown())
    end, changer = changed(tenant)
    assert end is None and changer.touched
    assert tenant.sent == [(7, {"leadData": {"state": "NY", "note": "call back"}})]


def test_a_lead_that_is_as_wanted_is_left_alone():
    tenant = Tenant(shown(dataFields={"state": "NY"}))
    assert changed(tenant)[0] is None and tenant.sent == []
    assert not changed(tenant)[1].touched


def test_an_item_that_shows_too_little_is_asked_for_by_its_id():
    tenant = Tenant({"leadId": 7, "customerKey": "K-1"})
    tenant.pages[7] = shown()
    assert changed(tenant)[0] is None
    assert tenant.sent[0][1]["leadData"] == {"state": "NY", "note": "call back"}, (
        "a note would have been lost"
    )
    tenant.pages.clear()
    tenant.leads = [{"leadId": 7}]
    assert changed(tenant)[0] == (GONE, "")


@pytest.mark.parametrize(
    ("leads", "end"),
    [
        ([], (GONE, "")),
        ([shown(), shown(leadId=8)], (REPEATED, "2 leads")),
        ([shown(leadId=None)], (NOT_CHANGED, "leadId is missing")),
        ([shown(phones="x")], (NOT_CHANGED, "phones must be a list")),
    ],
)
def test_what_cannot_be_changed_is_told_by_name(leads, end):
    tenant = Tenant(*leads)
    assert changed(tenant)[0] == end and tenant.sent == []


def test_a_number_that_was_given_up_is_taken_off_or_the_lead_is_told():
    second = shown(
        phones=[
            {"phoneIndex": 1, "phoneNumber": "+12012000001"},
            {"phoneIndex": 2, "phoneNumber": "+12012000009"},
        ]
    )
    tenant = Tenant(second)
    (reason, words), _ = changed(tenant)
    assert reason == NOT_EMPTIED and "phone2" in words and "null_clears" in words and tenant.sent == []
    assert changed(tenant, null_clears=True)[0] is None
    assert tenant.sent[0][1] == {"leadData": {"state": "NY", "note": "call back"}, "phone2": None}


def test_an_empty_cell_takes_a_free_field_off():
    tenant = Tenant(shown())
    assert changed(tenant, **{"leadData.state": ""})[0] is None
    assert tenant.sent == [(7, {"leadData": {"note": "call back"}})]


def test_the_vendors_words_are_told_without_what_they_quote():
    tenant = Tenant(
        shown(), ends=(refusal("phone1: +1 201 200 0001 is no number; timezone: 'Mars' is none"),)
    )
    end, changer = changed(tenant)
    assert end == (REFUSED, "phone1: … is no number; timezone: … is none") and not changer.touched


def test_a_lead_that_vanishes_between_look_and_change():
    assert changed(Tenant(shown(), ends=(error(NotFoundError, vanishes=True),)))[0] == (GONE, "")


def test_a_404_for_a_lead_that_is_there_is_no_end_of_a_row():
    """Another path for the update: every lead would be told as gone."""
    with pytest.raises(NotFoundError):
        changed(Tenant(shown(), ends=(error(NotFoundError),)))


def test_after_a_lost_answer_the_lead_itself_tells():
    tenant = Tenant(shown(), ends=(error(LostAnswerError, arrives=True),))
    end, changer = changed(tenant)
    assert end is None and changer.touched
    end, changer = changed(Tenant(shown(), ends=(error(LostAnswerError, http_status=500),)))
    assert end == (NOT_CHANGED, "HTTP 500") and changer.touched


@pytest.mark.parametrize("after_loss", [True, False])
def test_what_may_have_arrived_is_not_forgotten(after_loss):
    """ "Not now" after an answer that was lost: the change may be there."""
    changer = Changer(
        Tenant(shown(), ends=(error(RateLimitedError, after_loss=after_loss),)), 300, null_clears=False
    )
    with pytest.raises(RateLimitedError):
        changer.change(CELLS)
    assert changer.touched == after_loss
