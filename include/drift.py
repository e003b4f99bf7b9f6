"""Drift: is tonight like the nights before?

Four figures of the clean step are set against those of the last nights: how many leads came in, what share of them was
rejected, the share of each single reason, and the mix of areas. A figure has drifted when it lies both

* further from the median of those nights than `factor` times their spread (the median absolute deviation, scaled to a
  standard deviation, but never less than a floor: quiet weeks must not make a small step look large), and
* outside everything that those nights showed, so that a Sunday is not measured by Mondays.

With fewer than `min_nights` nights nothing is said. Pure: the facts are given.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

_NORMAL: Final = (
    1.4826  # times the median absolute deviation is the standard deviation of a normal distribution
)
_VOLUME_FLOOR: Final = 0.05  # of the median
_SHARE_FLOOR: Final = 0.01
_AREA_FLOOR: Final = 0.02


class DriftLimits(BaseModel):
    """When a night counts as unlike the nights before (docs/hygiene.md, drift)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: Literal["ignore", "warn", "refuse"] = Field(
        "warn", description="What happens then: nothing, a warning in the report, or the load is refused."
    )
    nights: int = Field(14, ge=3, le=100, description="How many earlier nights are looked at.")
    min_nights: int = Field(5, ge=3, description="With fewer earlier nights nothing is said.")
    factor: float = Field(
        6.0,
        gt=0,
        description="How many times the usual spread a figure may lie from the median of those nights.",
    )


@dataclass(frozen=True)
class Drift:
    """A figure that has drifted, in words."""

    figure: str
    text: str


def find(
    tonight: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], limits: DriftLimits
) -> list[Drift]:
    """What has drifted.

    :param tonight: facts of tonight's clean step: `rows_in`, `decided` (state -> reason -> rows), `areas` (area -> kept
        leads).
    :param earlier: the same of earlier nights, one each; nights without a lead say nothing of shares.
    """
    if limits.when == "ignore" or len(earlier) < limits.min_nights:
        return []
    found = [_volume(tonight, earlier, limits)]
    shown = [night for night in earlier if night["rows_in"]]
    if tonight["rows_in"] and len(shown) >= limits.min_nights:
        reasons = sorted({reason for night in (tonight, *shown) for reason in _shares(night)})
        found += [_share(reason, tonight, shown, limits) for reason in reasons]
        found.append(_areas(tonight, shown, limits))
    return [drift for drift in found if drift is not None]


def _volume(
    tonight: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], limits: DriftLimits
) -> Drift | None:
    rows = [float(night["rows_in"]) for night in earlier]
    middle = statistics.median(rows)
    if not _is_out(tonight["rows_in"], rows, limits.factor, floor=max(1.0, _VOLUME_FLOOR * middle)):
        return None
    return Drift(
        "volume",
        f"{tonight['rows_in']:,} leads came in; in the last {len(rows)} nights it was {min(rows):,.0f} to "
        f"{max(rows):,.0f}, most often about {middle:,.0f}.",
    )


def _shares(night: Mapping[str, Any]) -> dict[str, float]:
    """Share of each reason in the leads of a night, and of all rejects as `rejected`."""
    decided = night["decided"]
    counts = {reason: rows for reasons in decided.values() for reason, rows in reasons.items()}
    counts["rejected"] = sum(decided.get("rejected", {}).values())
    return {reason: rows / night["rows_in"] for reason, rows in counts.items()}


def _share(
    reason: str, tonight: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], limits: DriftLimits
) -> Drift | None:
    now = _shares(tonight).get(reason, 0.0)
    shares = [_shares(night).get(reason, 0.0) for night in earlier]
    if not _is_out(now, shares, limits.factor, floor=_SHARE_FLOOR):
        return None
    what = "rejected" if reason == "rejected" else f"`{reason}`"
    return Drift(
        reason,
        f"{100 * now:.1f} % of the leads are {what}; in the last {len(shares)} nights it was {100 * min(shares):.1f} "
        f"to {100 * max(shares):.1f} %.",
    )


def _areas(
    tonight: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]], limits: DriftLimits
) -> Drift | None:
    """Half the sum of the differences between two mixes: the share of leads that would have to move."""
    mixes = [mix for night in earlier if (mix := _mix(night))]
    now = _mix(tonight)
    if not now or len(mixes) < limits.min_nights:
        return None
    usual = {area: statistics.fmean(mix.get(area, 0.0) for mix in mixes) for mix in mixes for area in mix}

    def distance(mix: Mapping[str, float]) -> float:
        return sum(abs(mix.get(area, 0.0) - usual.get(area, 0.0)) for area in {*mix, *usual}) / 2

    distances = [distance(mix) for mix in mixes]
    moved = distance(now)
    if moved <= max(distances) or not _is_out(moved, distances, limits.factor, floor=_AREA_FLOOR):
        return None
    area = max({*now, *usual}, key=lambda name: abs(now.get(name, 0.0) - usual.get(name, 0.0)))
    return Drift(
        "areas",
        f"The mix of areas is another: {100 * moved:.0f} % of the leads would have to move to make it the usual one, "
        f"in the last {len(mixes)} nights it was at most {100 * max(distances):.0f} %. Most of all {area}: "
        f"{100 * now.get(area, 0.0):.1f} % instead of {100 * usual.get(area, 0.0):.1f} %.",
    )


def _mix(night: Mapping[str, Any]) -> dict[str, float]:
    areas = night.get("areas") or {}
    total = sum(areas.values())
    return {area: rows / total for area, rows in areas.items()} if total else {}


def _is_out(now: float, earlier: Sequence[float], factor: float, *, floor: float) -> bool:
    """Whether a figure lies outside what earlier nights showed, and further from their median than is usual."""
    middle = statistics.median(earlier)
    spread = max(_NORMAL * statistics.median(abs(value - middle) for value in earlier), floor)
    return not min(earlier) <= now <= max(earlier) and abs(now - middle) > factor * spread
