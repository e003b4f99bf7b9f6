"""Changing leads that stand on a list: found by list and customer key, and sent in one call each what differs there.

An update converges: one that may have arrived is looked up like any other, and what is as wanted already is not sent.
Nothing is guessed: a lead that is not there, or there more than once, is left alone and told by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from include.push.rows import KEY
from include.push.verdict import REFUSED, safe_words
from include.vendors.errors import LostAnswerError, VendorError
from include.vendors.platform import (
    BadLeadError,
    FieldsRefusedError,
    LeadFieldError,
    LeadQuery,
    NotFoundError,
    change_of_cells,
    id_in,
)

GONE: Final = "vendor_lead_gone"
REPEATED: Final = "vendor_key_repeated"
NOT_EMPTIED: Final = "vendor_not_emptied"
NOT_CHANGED: Final = "vendor_not_changed"

SHOWN: Final = frozenset({"phones", "dataFields"})
"""What an item of the list of leads must show to be set against a row; else the lead's own page is asked for (PL-7)."""


class Leads(Protocol):
    """What is asked of the vendor; the Platform hook is one."""

    def find_leads(self, query: LeadQuery) -> list[dict[str, Any]]:
        """Leads of a list by their key."""

    def get_lead(self, lead_id: int) -> dict[str, Any]:
        """One lead with all it holds."""

    def update_lead(self, lead_id: int, body: Mapping[str, Any]) -> None:
        """Change a lead."""


class _Refused(Exception):  # noqa: N818 (no error: an end of one row)
    """A row ends here: for this reason, with these words."""


class Changer:
    """
    Changes the leads of one list.

    :param null_clears: whether this tenant empties a field on null (PL-9).
    """

    touched = False
    """Whether anything may have been changed at the vendor."""

    def __init__(self, tenant: Leads, list_id: int, *, null_clears: bool) -> None:
        self._tenant, self._list_id, self._null_clears = tenant, list_id, null_clears

    def change(self, cells: Mapping[str, str]) -> tuple[str, str] | None:
        """Make a lead what a row of text says. Returns why it is not: reason and words; None when it is.

        Raises the VendorError that speaks against going on at all.
        """
        try:
            self._change(cells)
        except _Refused as refused:
            reason, words = refused.args
            return reason, words
        return None

    def _change(self, cells: Mapping[str, str]) -> None:
        lead_id, body = self._look(cells)
        if not body:
            return
        try:
            self._tenant.update_lead(lead_id, body)
            self.touched = True
        except FieldsRefusedError as error:
            self.touched |= error.after_loss
            raise _Refused(REFUSED, safe_words(error.words)) from None
        except NotFoundError:
            if self._look(cells)[0] == lead_id:  # it is there: this tenant has another path for the update
                raise
            # Another lead took its place meanwhile: the next run looks again.
            raise _Refused(GONE, "") from None
        except LostAnswerError as error:
            self.touched = True
            if self._look(cells)[1]:
                status = f"HTTP {error.http_status}" if error.http_status else "no answer"
                raise _Refused(NOT_CHANGED, status) from None
        except VendorError as error:
            self.touched |= error.after_loss
            raise

    def _look(self, cells: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """The id of a row's lead, and what must be sent to make it what the row says; {} for nothing."""
        found = self._tenant.find_leads(LeadQuery(listId=self._list_id, customerKey=cells[KEY]))
        if not found:
            raise _Refused(GONE, "")
        if len(found) > 1:
            raise _Refused(REPEATED, f"{len(found)} leads")
        lead, lead_id = found[0], id_in(found[0], "leadId")
        if lead_id is None:
            raise _Refused(NOT_CHANGED, "leadId is missing")
        if not lead.keys() >= SHOWN:
            try:
                lead = self._tenant.get_lead(lead_id)
            except NotFoundError:
                raise _Refused(GONE, "") from None
        try:
            return lead_id, change_of_cells(lead, cells, null_clears=self._null_clears)
        except LeadFieldError as error:
            raise _Refused(NOT_EMPTIED, str(error)) from None
        except BadLeadError as error:
            raise _Refused(NOT_CHANGED, str(error)) from None
