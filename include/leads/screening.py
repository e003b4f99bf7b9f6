"""Screening: what the rule packs of a flow say of each lead: whose rules hold, its time zone, when it may be called,
whether its consent is on record.

It fails closed. A country that the flow names no rules for, a time zone that nobody knows, a window that never opens,
a consent that is not on record: such a lead is held, with rule, pack and version in its outcome.

Leads that are alike in place, zone field and address are decided once, so the cost hardly grows with their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from include.leads import packs, places, windows
from include.leads.calls import CallHistory
from include.leads.rules import CleanRules, PackRules
from include.leads.schema import SCREENED_COLUMNS

_NO_NUMBERS: Final[Mapping[str, pl.Series]] = MappingProxyType({})
_OF_HOURS: Final = ("no_calling_window", "outside_calling_hours")
_UNKNOWN: Final = "no field, number or address tells the time zone"


@dataclass(frozen=True)
class _Decision:
    """What holds for all leads that are alike; the times as the flow writes them."""

    reason: str | None = None
    detail: str | None = None
    zone: str | None = None
    call_from: str | None = None
    call_until: str | None = None
    packs: str | None = None
    consent: str | None = None  # the rule that asks for consent, with its pack
    zone_from: str | None = None  # which of the sources told the zone; `nothing` where none did
    conflict: bool = False
    unreadable: bool = False  # whether the lead's own field names no zone
    caps: tuple[tuple[float, int], ...] = ()  # attempt caps: hours, and most calls within them


_TOLD: Final = tuple(field.name for field in fields(_Decision) if field.name != "caps")
_SCHEMA: Final[dict[str, Any]] = {
    "own": pl.String,
    "place": pl.Int64,
    "address": pl.String,
    **dict.fromkeys(_TOLD, pl.String),
    "conflict": pl.Boolean,
    "unreadable": pl.Boolean,
}


def attempt_hours(settings: PackRules) -> tuple[float, ...]:
    """The windows, in hours, of the attempt caps that may come up."""
    return tuple(sorted({rule.attempts.hours for rule in settings.rules if rule.attempts}))


def looks_back(rules: CleanRules) -> timedelta | None:
    """How old a call may be that the rules of a flow still look at; None: however old, an opt-out counts.

    A flow without rules over calls looks at none.
    """
    calls = rules.calls
    if calls is None:
        return timedelta()
    if calls.do_not_call.dial_status or calls.do_not_call.wrap_code:
        return None
    hours = [*(attempt_hours(rules.packs) if rules.packs else ()), calls.not_within_hours or 0.0]
    hours += [calls.attempts.hours] if calls.attempts else []
    return max(timedelta(hours=max(hours)), timedelta(days=calls.dead_days))


class Screening:
    """The rule packs of one flow at one moment.

    :param settings: the section `packs:` of a flow file.
    :param now: aware; the moment that windows and consent are judged at.
    :param history: earlier calls, for the packs' attempt caps; without them these are not checked.
    """

    def __init__(self, settings: PackRules, now: datetime, history: CallHistory | None = None) -> None:
        self._settings, self._now, self._history = settings, int(now.timestamp()), history
        self._hours = attempt_hours(settings) if history is not None else ()
        self._today = now.astimezone(UTC).date()
        self._places: list[places.Place] = []
        self._place_ids: dict[places.Place, int] = {}
        self._ids_by_key: dict[int, int] = {}
        self._decisions: dict[tuple[str | None, int, str | None], _Decision] = {}
        self._windows: dict[tuple[tuple[str, ...], tuple[str, ...]], windows.Interval | None] = {}
        self._rules: dict[str, packs.Rules] = {}
        self._zones: Counter[str] = Counter()
        self._seen: Counter[str] = Counter(conflicts=0, unreadable=0)

    def apply(self, leads: pl.DataFrame, numbers: Mapping[str, pl.Series] = _NO_NUMBERS) -> pl.DataFrame:
        """Add SCREENED_COLUMNS, and set reason and detail of the leads that are held, of those that have no reason yet.

        :param leads: lead columns with `number` (Int64), `reason` and `detail`; the order stays.
        :param numbers: the lead's usable numbers by phone field, for attempt caps.
        """
        asked = leads.select(
            own=self._field(self._settings.zone_field) if self._settings.zone_field else "timezone",
            place=self._place(leads["number"]),
            address=self._field(self._settings.state_field),
        )
        alike = asked.filter(pl.col("place").is_not_null()).unique()
        known = pl.DataFrame(
            [(*key, *self._decision(*key)) for key in alike.iter_rows()],
            schema=_SCHEMA | {f"cap {hours:g}": pl.Int64 for hours in self._hours},
            orient="row",
        )
        found = asked.join(
            known, on=["own", "place", "address"], how="left", nulls_equal=True, maintain_order="left"
        )
        found = found.with_columns(missing=self._missing_consent(leads))
        no_consent = (
            pl.col("consent").is_not_null()
            & pl.col("missing").is_not_null()
            & (pl.col("reason").is_null() | pl.col("reason").is_in(_OF_HOURS))
        )
        found = found.with_columns(
            reason=pl.when(no_consent).then(pl.lit("consent_missing")).otherwise("reason"),
            detail=pl.when(no_consent).then(pl.format("{}: no {}", "consent", "missing")).otherwise("detail"),
        )
        if self._history is not None:
            found = self._cap(found, self._history, numbers, leads["lead_id"])
        undecided = leads["reason"].is_null()
        self._count(found.filter(undecided))
        held = undecided & found["reason"].is_not_null()
        return leads.with_columns(
            found.select(*SCREENED_COLUMNS),
            reason=pl.when(held).then(found["reason"]).otherwise("reason"),
            detail=pl.when(held).then(found["detail"]).otherwise("detail"),
        )

    def _cap(
        self, found: pl.DataFrame, history: CallHistory, numbers: Mapping[str, pl.Series], lead_id: pl.Series
    ) -> pl.DataFrame:
        """Hold the leads that were called as often as a pack allows, of those that have no reason yet."""
        for hours in self._hours:
            calls = history.counts(numbers, lead_id, hours)
            over = pl.col("reason").is_null() & (pl.lit(calls) >= pl.col(f"cap {hours:g}"))
            words = pl.format("{}: attempts, {} calls in " + f"{hours:g} hours", "packs", pl.lit(calls))
            found = found.with_columns(
                reason=pl.when(over).then(pl.lit("attempts_used_up")).otherwise("reason"),
                detail=pl.when(over).then(words).otherwise("detail"),
            )
        return found

    def about(self) -> dict[str, Any]:
        """What a report and the evidence say of the screening, as plain JSON values.

        `zone_from` counts leads by what told their zone, `conflicts` those whose sources contradict each other,
        `unreadable` those whose own field names no time zone.
        """
        used = {code: rules.label for code, rules in sorted(self._rules.items())}
        return {
            "packs": list(used.values()),
            "zone_from": dict(sorted(self._zones.items())),
            **self._seen,
            "zone_conflict": self._settings.zone_conflict,
        }

    @staticmethod
    def _field(name: str | None) -> pl.Expr:
        """A text field of the lead's data; null where it is empty or not mapped."""
        if name is None:
            return pl.lit(None, pl.String)
        return pl.col("data").str.json_path_match(f"$['{name}']").str.strip_chars().replace("", None)

    def _place(self, number: pl.Series) -> pl.Series:
        """A small number for the place of each phone number."""
        key = places.keys(number)
        distinct = key.unique().drop_nulls()
        ids = pl.Series([self._place_id(k) for k in distinct], dtype=pl.Int64)
        return key.replace_strict(distinct, ids, default=None)

    def _place_id(self, key: int) -> int:
        known = self._ids_by_key.get(key)
        if known is not None:
            return known
        place = places.place_of(key)
        if place not in self._place_ids:
            self._place_ids[place] = len(self._places)
            self._places.append(place)
        if not places.is_single(key):
            self._ids_by_key[key] = self._place_ids[place]
        return self._place_ids[place]

    def _missing_consent(self, leads: pl.DataFrame) -> pl.Series:
        """What a lead's consent lacks; null where date and source are on record."""
        text = leads.select("data").with_columns(
            date=self._field(self._settings.consent_date)
            .str.slice(0, 10)
            .str.to_date("%Y-%m-%d", strict=False),
            source=self._field(self._settings.consent_source),
        )
        return text.select(
            pl.when(pl.col("date").is_null())
            .then(pl.lit("date that can be read"))
            .when(pl.col("date") > self._today)
            .then(pl.lit("date that has come"))
            .when(pl.col("source").is_null())
            .then(pl.lit("source"))
        ).to_series()

    def _count(self, found: pl.DataFrame) -> None:
        self._zones.update(dict(found["zone_from"].drop_nulls().value_counts().iter_rows()))
        self._seen["conflicts"] += int(found["conflict"].sum())
        self._seen["unreadable"] += int(found["unreadable"].sum())

    def _decision(self, own: str | None, place: int, address: str | None) -> tuple[Any, ...]:
        key = (own, place, address)
        if key not in self._decisions:
            self._decisions[key] = self._decide(own, self._places[place], address)
        decision = self._decisions[key]
        caps = [min((most for h, most in decision.caps if h == hours), default=None) for hours in self._hours]
        return (*(getattr(decision, name) for name in _TOLD), *caps)

    def _decide(self, own: str | None, place: places.Place, address: str | None) -> _Decision:
        country = next(
            (code for code in self._settings.countries if place.region in packs.packs()[code].regions), None
        )
        if country is None:
            where = place.region or "an international service"
            return _Decision("no_rule_pack", f"numbers of {where}: the flow names no rules for them")
        part = places.part_named(country, address) if address else None
        codes, label = self._jurisdictions(country, part, place)
        zones, source, conflict = self._zones_of(own, place, part)
        asks = [rules for rules in map(self._rule, codes) if self._settings.calls in rules.consent_for]
        found = _Decision(
            zone=" ".join(zones) or None,
            packs=label,
            zone_from=source,
            conflict=conflict,
            unreadable=own is not None and bool(own.strip()) and places.zone_named(own) is None,
            consent=f"{asks[0].label}: consent_for {self._settings.calls}" if asks else None,
            caps=tuple(
                (rule.attempts.hours, rule.attempts.max) for rule in map(self._rule, codes) if rule.attempts
            ),
        )
        if not zones:
            return replace(found, reason="zone_unknown", detail=f"{label}: {_UNKNOWN}")
        where = " and ".join(zones)
        if conflict and self._settings.zone_conflict == "hold":
            return replace(found, reason="zone_conflict", detail=f"{label}: {where}")
        window = self._window(zones, codes)
        if window is None:
            why = f"{label}: calling_hours in {where}: none in {windows.HORIZON_DAYS} days"
            return replace(found, reason="no_calling_window", detail=why)
        found = replace(found, call_from=self._written(window[0]), call_until=self._written(window[1]))
        if window[0] > self._now and self._settings.outside_hours == "hold":
            opens = datetime.fromtimestamp(window[0], UTC)
            why = f"{label}: calling_hours in {where}: from {opens:%Y-%m-%d %H:%M} UTC"
            return replace(found, reason="outside_calling_hours", detail=why)
        return found

    def _written(self, moment: int) -> str:
        """A moment as the flow writes it."""
        there = datetime.fromtimestamp(moment, ZoneInfo(self._settings.time_zone))
        return there.strftime(self._settings.time_format)

    def _rule(self, code: str) -> packs.Rules:
        if code not in self._rules:
            self._rules[code] = packs.rules_of(code, self._settings.override.get(code))
        return self._rules[code]

    def _jurisdictions(
        self, country: str, part: str | None, place: places.Place
    ) -> tuple[tuple[str, ...], str]:
        """Whose rules hold: the country's, and those of every state that address or number point to.

        Where nothing tells the state, those of all states hold.
        """
        named = {code for code in (part, *place.parts) if code is not None}
        every = packs.parts_with_rules(country, self._settings.override)
        codes = [code for code in every if code in named or not named]
        rules = [self._rule(code) for code in (country, *codes)]
        label = "; ".join(rule.label for rule in rules)
        if not named and codes:
            label = f"{rules[0].label}; all parts of {country}"
        return tuple(rule.code for rule in rules), label

    def _zones_of(
        self, own: str | None, place: places.Place, part: str | None
    ) -> tuple[tuple[str, ...], str, bool]:
        """The zones that a lead may be in, which source told them, and whether sources contradict each other."""
        own_zone = places.zone_named(own) if own else None
        told = {
            "field": (own_zone,) if own_zone else (),
            "number": place.zones if place.local else (),
            "address": places.zones_of_part(part) if part else (),
        }
        speaking = [(name, told[name]) for name in self._settings.zone_from if told[name]]
        if not speaking:
            anywhere = place.zones if "number" in self._settings.zone_from else ()
            return anywhere, "country" if anywhere else "nothing", False
        source, zones = speaking[0]
        clock = self._clocks(zones)
        against = [other for _, other in speaking[1:] if not clock & self._clocks(other)]
        if against and self._settings.zone_conflict != "first":
            zones = tuple(sorted({*zones, *(zone for other in against for zone in other)}))
        return zones, source, bool(against)

    def _clocks(self, zones: tuple[str, ...]) -> set[int]:
        return {windows.offset(zone, self._now) for zone in zones}

    def _window(self, zones: tuple[str, ...], codes: tuple[str, ...]) -> windows.Interval | None:
        key = (zones, codes)
        if key not in self._windows:
            rules = [self._rule(code) for code in codes]
            self._windows[key] = windows.next_window(
                zones, rules, self._now, at_least=max(1, 60 * self._settings.at_least_minutes)
            )
        return self._windows[key]
