"""The closed list of reasons why a row ended where it ended, in words an analyst can act on.

Every outcome row carries one of these codes. `python -m include.leads.reasons` prints the page
`docs/reasons.md`; a test fails when the two differ.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from include.leads.schema import OutcomeState


@dataclass(frozen=True)
class Reason:
    """One reason: its code, the state of a row that has it, what it means and how to fix it."""

    code: str
    state: OutcomeState
    text: str
    fix: str


_ALL: Final = (
    # Delivered
    Reason("delivered", "delivered", "The vendor took the lead.", "Nothing to do."),
    Reason(
        "vendor_counts_only",
        "delivered",
        "The vendor took the batch, but refused a few of its rows without naming them; this row may be one of those.",
        "Nothing to do. The report has the vendor's counts; its console shows which rows are missing.",
    ),
    # Rejected: by the source
    Reason(
        "source_unreadable",
        "rejected",
        "The source's record of the lead cannot be read; the detail names the field and the rule.",
        "Correct the record in the source system; the next pull takes it.",
    ),
    Reason(
        "source_repeated",
        "rejected",
        "The source listed the lead twice while it was pulled; it is kept once, as it was seen last.",
        "Nothing to do.",
    ),
    # Rejected: the phone. The code is that of the first phone field that is not empty.
    Reason(
        "phone_empty",
        "rejected",
        "No phone field holds anything.",
        "Fill in a number, or take the lead off the list.",
    ),
    Reason(
        "phone_masked",
        "rejected",
        "The number is hidden or a stand-in (999xxxx, Multiple#s, __________).",
        "Ask the source system for the full number.",
    ),
    Reason(
        "phone_letters",
        "rejected",
        "The field holds words where a number should be.",
        "Put the number into the phone field and the words into a field of their own.",
    ),
    Reason(
        "phone_several",
        "rejected",
        "The field holds several numbers; we do not guess which one to call.",
        "Put one number into each of phone1, phone2 and phone3.",
    ),
    Reason(
        "phone_too_short",
        "rejected",
        "Digits are missing: too few for a number of its country (often the area code).",
        "Add the missing digits, or write the number as + and country code.",
    ),
    Reason(
        "phone_too_long",
        "rejected",
        "There are more digits than a number of its country can have.",
        "Remove the surplus digits, or write the number as + and country code.",
    ),
    Reason(
        "phone_impossible",
        "rejected",
        "It cannot be a number: the country code does not exist, or no number has this length or form.",
        "Correct the number; check the flow's region if many leads have this reason.",
    ),
    Reason(
        "phone_not_in_service_range",
        "rejected",
        "The length is right, but no number range in service begins with these digits.",
        "Check for a typing mistake in the area code or exchange.",
    ),
    Reason(
        "phone_region_unknown",
        "rejected",
        "The lead's own region is not a two-letter country code that we know.",
        "Write the region as ISO code (US, GB, DE), or leave it empty to use the flow's region.",
    ),
    Reason(
        "number_dead",
        "rejected",
        "Earlier calls found every number of the lead out of service; the detail names what else was wrong.",
        "Ask the customer for a working number. `calls.dead` in the flow file says which calls count.",
    ),
    Reason(
        "not_ten_digits",
        "rejected",
        "The number is good, but this vendor takes ten-digit North American numbers only.",
        "Load the lead through a vendor that takes this country, or give a ten-digit number.",
    ),
    Reason(
        "other_country",
        "rejected",
        "The number is good, but of another country than the flow's region, and the flow sends no country codes.",
        "Set `numbers: international` in the flow file, or load the lead through a flow of its country.",
    ),
    # Rejected: what a column may hold
    Reason(
        "name_not_allowed",
        "rejected",
        "The name holds a character that the vendor refuses (it takes English letters, digits and _ ( ) . + $ % - :).",
        "Correct the name at the source, or set `names: clean` in the flow file.",
    ),
    Reason(
        "priority_not_allowed",
        "rejected",
        "The priority is not a whole number from 1 to 99.",
        "Correct it at the source, or leave it empty.",
    ),
    Reason(
        "expiry_not_a_date",
        "rejected",
        "The expiry date is not a real date written as YYYY-MM-DD.",
        "Correct it at the source, or leave it empty.",
    ),
    Reason(
        "agent_missing",
        "rejected",
        "The campaign is dialed by agent, and the lead names none.",
        "Fill in the agent at the source, or load the lead into a campaign that is not agent-wise.",
    ),
    Reason(
        "skill_missing",
        "rejected",
        "The campaign is dialed by skill, and the lead names none.",
        "Fill in the skill at the source, or load the lead into a campaign that is not skill-wise.",
    ),
    Reason(
        "row_too_long",
        "rejected",
        "Names of the columns and values together have more characters than the vendor takes in a row.",
        "Shorten the value at the source, or map fewer columns.",
    ),
    # Rejected: the lead
    Reason(
        "key_missing",
        "rejected",
        "The lead has no customer key, and this flow needs one.",
        "Fill in the customer key at the source, or set `require_key: false` in the flow file.",
    ),
    Reason(
        "duplicate_key",
        "rejected",
        "Another lead of this night has the same customer key and was kept.",
        "Remove one of the two at the source; the detail names the row that was kept.",
    ),
    Reason(
        "duplicate_phone",
        "rejected",
        "Another lead of this night has the same number and was kept.",
        "Remove one of the two at the source; the detail names the row that was kept.",
    ),
    # Rejected: rows of a file of fixed rejects. The detail names row, column and rule.
    Reason(
        "fix_no_key",
        "rejected",
        "A row of the file of fixed rejects has no `row_key`.",
        "Copy the `row_key` from the reject file; without it nobody knows which lead is meant.",
    ),
    Reason(
        "fix_unknown_key",
        "rejected",
        "The load whose rejects were fixed had no row with this `row_key`.",
        "Compare the `row_key` with the reject file, and upload the file on the page of the load it came from.",
    ),
    Reason(
        "fix_not_rejected",
        "rejected",
        "The row was not rejected by that load, so it is not sent again; the detail says how it ended.",
        "Take it out of the file. What is suppressed or held ends when its reason does.",
    ),
    Reason(
        "fix_repeated",
        "rejected",
        "Several rows of the file of fixed rejects have this `row_key`.",
        "Keep the one that is right.",
    ),
    Reason(
        "fix_cell",
        "rejected",
        "A cell of the file of fixed rejects cannot be used.",
        "Write a plain value there; the detail names row, column and rule.",
    ),
    Reason(
        "fix_delivered",
        "rejected",
        "An earlier resend has sent this row, so it is not sent twice.",
        "Nothing to do.",
    ),
    Reason(
        "text_too_long",
        "rejected",
        "A column of the lead is longer than this vendor takes; nothing is cut to fit.",
        "Shorten it at the source, or map a shorter field. The vendor's page has the lengths.",
    ),
    Reason(
        "text_illegal",
        "rejected",
        "A column of the lead holds a character that no workbook can hold (U+FFFE, U+FFFF).",
        "Correct the text at the source.",
    ),
    Reason(
        "not_json",
        "rejected",
        "The campaign runs an intelligent IVR, which wants callData to be JSON, and this lead's is none.",
        "Map single fields (`to: callData.<field>`), or correct the text at the source.",
    ),
    Reason(
        "time_unreadable",
        "rejected",
        "The column that should hold a time holds something else.",
        "Write it as 2026-11-30 12:00:00, or with an offset as 2026-11-30T12:00:00+02:00.",
    ),
    Reason(
        "not_a_number",
        "rejected",
        "A column that must hold a whole number (a status, an agent) holds something else.",
        "Correct it at the source, or map another column.",
    ),
    Reason(
        "agent_not_active",
        "rejected",
        "The lead is assigned to somebody who is no active agent.",
        "Assign it to another agent at the source, or leave the agent empty.",
    ),
    Reason(
        "user_rule",
        "rejected",
        "The flow's own rule turned the lead down; the detail is what the rule said.",
        "See the rule named in the flow file.",
    ),
    # Rejected: by the vendor
    Reason(
        "vendor_rejected",
        "rejected",
        "The vendor refused the lead.",
        "See the vendor's words in the detail; correct the lead and resend it.",
    ),
    Reason(
        "vendor_duplicate",
        "rejected",
        "The number stands in the campaign already, so the vendor did not add it again.",
        "Nothing to do.",
    ),
    Reason(
        "vendor_unread",
        "rejected",
        "The vendor could not load the batch at all: its columns do not fit the mapping file of the campaign.",
        "Compare `columns` in the flow file with the campaign's mapping file, name by name.",
    ),
    Reason(
        "vendor_invalid",
        "rejected",
        "The vendor counts the number as malformed.",
        "Correct the number and resend the lead.",
    ),
    Reason(
        "vendor_row_error",
        "rejected",
        "The vendor refused this lead, or its change; the detail has its words, without what they quote.",
        "Correct what the detail names; the next run sends the lead again.",
    ),
    Reason(
        "vendor_import_failed",
        "rejected",
        "Three imports broke off, or got lost, before they came to this lead; it is not on the list.",
        "Ask the vendor why; the next run sends the lead again.",
    ),
    Reason(
        "vendor_unexplained",
        "rejected",
        "The vendor's import ended without this lead, and without saying why; it was looked up and is not on the list.",
        "Ask the vendor; the next run sends the lead again.",
    ),
    Reason(
        "vendor_lead_gone",
        "rejected",
        "The lead was to be changed, and is not on the list any more: somebody deleted or moved it. It is not added "
        "again.",
        "Nothing to do at the vendor if that is meant: take the lead out of the source, or suppress it.",
    ),
    Reason(
        "vendor_key_repeated",
        "rejected",
        "The lead was to be changed, and several leads of the list have its customer key; none of them was changed.",
        "Delete all but one of them at the vendor; the next run changes that one.",
    ),
    Reason(
        "vendor_not_emptied",
        "rejected",
        "The source has given up a number of the lead, and this tenant's updates empty no field; nothing was changed.",
        "Take the number off at the vendor, or set `null_clears` of the connection if the tenant empties on null.",
    ),
    Reason(
        "vendor_not_changed",
        "rejected",
        "The lead stands on the list as it was: the vendor failed on the change each time, or shows the lead in a way "
        "that cannot be read; the detail says which.",
        "Look at the lead at the vendor; the next run tries again.",
    ),
    Reason(
        "vendor_inactive",
        "rejected",
        "The vendor counts the number as not in service.",
        "Ask the customer for a working number.",
    ),
    Reason(
        "vendor_dnc",
        "rejected",
        "The vendor found the number on a do-not-call or litigator list.",
        "Do not call it. Add the number to your own suppression list.",
    ),
    Reason(
        "unknown_lead",
        "rejected",
        "The dialer's list does not hold this lead (any more): somebody archived or deleted it, or the id is wrong.",
        "Nothing to do for a lead that is gone; for a file of ids, check where the ids come from.",
    ),
    Reason(
        "stayed_behind",
        "rejected",
        "The lead is in the archive, but it also stayed on the list: its copy differs, even after a second try.",
        "Compare the columns of vicidial_list and vicidial_list_archive: an older, narrower archive table does this.",
    ),
    Reason(
        "no_longer_old",
        "rejected",
        "It was called or changed after it was selected, so that no rule picks it any more; it stays on the list.",
        "Nothing to do: it is picked again when it is old enough.",
    ),
    # Suppressed
    Reason(
        "on_suppression_list",
        "suppressed",
        "A number of the lead is on a suppression list; the detail names list and field.",
        "Do not call it. If the entry is wrong, have the list's owner remove it.",
    ),
    Reason(
        "erased",
        "suppressed",
        "The lead is of a customer who was erased: known again by a keyed hash of a number or an address.",
        "Do not call it, and find out who put it back into the source.",
    ),
    Reason(
        "asked_not_to_call",
        "suppressed",
        "In an earlier call somebody asked not to be called again: at a number of the lead, or as this lead.",
        "Do not call it. Put the number on your own suppression list too: staged calls are not kept for ever.",
    ),
    # By a scrub service; the detail names the check and the answer
    Reason(
        "scrub_listed",
        "suppressed",
        "A scrub service found the number on a registry.",
        "Do not call it. If the answer is wrong, take that up with the service.",
    ),
    Reason(
        "number_reassigned",
        "suppressed",
        "The number was given to somebody else after the lead's consent.",
        "Ask the customer for the present number; the consent does not hold for its new owner.",
    ),
    Reason(
        "line_type_refused",
        "suppressed",
        "The number's type of line is none that the flow allows.",
        "Give another number, or add the type to the check's `allow` in the flow file.",
    ),
    Reason(
        "scrub_unknown",
        "held",
        "No scrub service gave an answer for the number that is young enough and that we know.",
        "Have the service check the number, or map its words with `words` in the flow file.",
    ),
    # Held: by earlier calls
    Reason(
        "called_recently",
        "held",
        "The lead was called less than `calls.not_within_hours` ago.",
        "Nothing to do: a later run takes it.",
    ),
    Reason(
        "attempts_used_up",
        "held",
        "The lead was called as often as the flow or a rule pack allows within so many hours; the detail says which.",
        "Nothing to do: a later run takes it.",
    ),
    # Held: by the other lists of the night. The detail names the flow.
    Reason(
        "owned_by_another_list",
        "held",
        "Another list of the flow's `owner_group` has claimed the number for this night.",
        "Nothing to do: it is called from that list. Priorities in the flow files say which list comes first.",
    ),
    # Held: by a rule pack. The detail names rule, pack and version.
    Reason(
        "no_rule_pack",
        "held",
        "The number belongs to a country whose rules the flow does not name.",
        "Name the country under `packs.countries` in the flow file, or load the lead through a flow that has it.",
    ),
    Reason(
        "zone_unknown",
        "held",
        "Neither a field of the lead nor its number nor its address tells its time zone.",
        "Fill in time zone or state at the source; see `packs.zone_field` and `packs.state_field` in the flow file.",
    ),
    Reason(
        "zone_conflict",
        "held",
        "The lead's own time zone, its number and its address contradict each other.",
        "Correct the wrong one at the source; `packs.zone_conflict` in the flow file says what happens to such leads.",
    ),
    Reason(
        "consent_missing",
        "held",
        "The rules ask for consent, and its date or its source is not on record.",
        "Record where and when the consent was given, or do not call the lead in this way.",
    ),
    Reason(
        "outside_calling_hours",
        "held",
        "The lead may not be called at this moment; the detail says from when it may.",
        "Nothing to do: a later run takes it. `packs.outside_hours` in the flow file can send it with its next moment.",
    ),
    Reason(
        "no_calling_window",
        "held",
        "The lead's time zones and rules leave no common moment in the next two weeks.",
        "Give the lead a time zone or a state of its own, so that fewer zones are possible.",
    ),
    # Held
    Reason(
        "plan_only",
        "held",
        "The run only planned; it was not asked to load.",
        "Start a run that applies, or release the plan.",
    ),
    Reason(
        "guard_stopped",
        "held",
        "A guard refused the load, so nothing was sent.",
        "Read the guard's reason in the report; correct the source, or change the guard's limit in the flow file.",
    ),
    Reason(
        "not_approved",
        "held",
        "A person had to approve the load, and did not, so nothing was sent.",
        "Read who said no and why in the report; start a new run, or clear the task `approve` to ask again.",
    ),
    Reason(
        "already_delivered",
        "held",
        "The same lead went to this list in an earlier load.",
        "Nothing to do.",
    ),
    Reason(
        "on_keep_list",
        "held",
        "The lead is on a keep-list of the flow, so it is never archived.",
        "Nothing to do. If the entry is wrong, take it off the keep-list.",
    ),
    Reason(
        "over_limit",
        "held",
        "The run was asked to archive fewer leads than the rules picked.",
        "Nothing to do: a later run takes it. To take more at once, raise the limit.",
    ),
    Reason(
        "canary_stopped",
        "held",
        "A small part of the load went first, and the vendor's counts of it were not good, so the rest was not sent.",
        "Read in the report which counts stopped it; correct the source or the columns, then start a new run.",
    ),
    Reason(
        "end_time",
        "held",
        "The flow's latest end time had come before the lead's batch was sent.",
        "Nothing to do: the next night's run takes it.",
    ),
    Reason(
        "not_sent",
        "held",
        "The run ended before the lead's batch was sent.",
        "Clear the failed task: it goes on where it stopped.",
    ),
    # Uncertain
    Reason(
        "no_outcome",
        "uncertain",
        "The lead was sent, but the vendor never said what became of it.",
        "Look at the list in the vendor's own console, then resolve the load as delivered or not.",
    ),
)

REASONS: Final[Mapping[str, Reason]] = MappingProxyType({reason.code: reason for reason in _ALL})
"""Every reason by its code."""

FIT_TO_CALL: Final = (
    "outside_calling_hours",
    "called_recently",
    "attempts_used_up",
    "owned_by_another_list",
)
"""Reasons of leads that are fit to call, only not now or not from this list: guards count them as valid."""


def page() -> str:
    """Return `docs/reasons.md` as Markdown: one table per state, in the order of the list."""
    lines = [
        "# Reasons",
        "",
        "Why a row ended where it ended. Every row of a reject file and of a run's outcomes carries one of",
        "these codes, and no other.",
        "",
        "Made from `include/leads/reasons.py`: `make docs`.",
    ]
    for state in dict.fromkeys(reason.state for reason in _ALL):
        lines += [
            "",
            f"## {state.capitalize()}",
            "",
            "| code | what it means | how to fix it |",
            "| --- | --- | --- |",
        ]
        lines += [f"| `{r.code}` | {r.text} | {r.fix} |" for r in _ALL if r.state == state]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
