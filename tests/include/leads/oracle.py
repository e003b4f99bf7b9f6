"""The clean step once more, as plain as possible: one lead after the other, one dictionary each."""

from __future__ import annotations

from typing import Any

import phonenumbers

from include.leads.rules import CleanRules

Lead = dict[str, Any]


def number_of(raw: str | None, region: str) -> str | None:
    try:
        number = phonenumbers.parse(raw or "", region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def decide(
    leads: list[Lead], rules: CleanRules, lists: dict[str, set[str]], says: dict[str, str]
) -> dict[str, tuple[str, ...]]:
    """Return per row key ("kept", phone, field) or (state, reason[, detail]).

    `lists` are E.164 numbers by list, `says` what the user's rule says by row key. The detail is left out for a
    phone that is not usable, whose words are tested elsewhere.
    """
    decided: dict[str, tuple[str, ...]] = {}
    open_leads: list[tuple[int, Lead, str]] = []
    for place, lead in enumerate(leads):
        usable = [
            (field, number) for field in rules.phones if (number := number_of(lead[field], rules.region))
        ]
        listed = [
            f"{name}: {field}"
            for name, numbers in lists.items()
            for field, number in usable
            if number in numbers
        ]
        if not usable:
            decided[lead["row_key"]] = ("rejected", "phone")
        elif listed:
            decided[lead["row_key"]] = ("suppressed", "on_suppression_list", "; ".join(listed))
        elif rules.require_key and not lead["customer_key"]:
            decided[lead["row_key"]] = ("rejected", "key_missing")
        elif rules.rule and lead["row_key"] in says:
            decided[lead["row_key"]] = ("rejected", "user_rule", says[lead["row_key"]])
        else:
            decided[lead["row_key"]] = ("kept", usable[0][1], usable[0][0])
            open_leads.append((place, lead, usable[0][1]))

    def better(one: tuple[int, Lead, str]) -> tuple[Any, ...]:
        place, lead, _ = one
        if rules.keep == "first":
            return (-place,)
        uploaded = lead["uploaded_at"]
        return (uploaded is not None, uploaded and uploaded.timestamp(), lead["row_key"].encode())

    for by, reason in (("key", "duplicate_key"), ("phone", "duplicate_phone")):
        if by not in rules.unique_by:
            continue
        groups: dict[str, list[tuple[int, Lead, str]]] = {}
        for one in open_leads:
            same = one[1]["customer_key"] if by == "key" else one[2]
            groups.setdefault(same or f"no key {one[0]}", []).append(one)
        open_leads = []
        for group in groups.values():
            best = max(group, key=better)
            open_leads.append(best)
            for one in group:
                if one is not best:
                    decided[one[1]["row_key"]] = ("rejected", reason, f"kept row {best[1]['row_key']}")
    return decided
