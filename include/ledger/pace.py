"""Holds a vendor's rate for an account: at most so many calls in any window of so many seconds.

A call takes a turn before it goes out and ends it when the answer is there. What counts for the vendor is when a call
arrives, which we cannot see; but it lies between the two. So a turn is free again one window after a call has *ended*,
and the next one, which arrives after it began, keeps the rate whatever the network does in between. Nobody queues:
whoever finds no turn free is told when to ask again, so that no one who died can hold up the others.

One row per account holds the turns of the last window, and is locked while they are changed: any number of tasks, runs,
workers and machines may ask. Their clocks must agree within `Pace.margin`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, select, update

from include.ledger.store import insert_new
from include.ledger.tables import pace as table

LONGEST_CALL: Final = timedelta(minutes=5)
"""When a call that nobody ended counts as ended: its process died. Longer than any call's timeouts."""


@dataclass(frozen=True)
class Pace:
    """What an account may do.

    :param calls: so many calls in any `window`.
    :param spacing: shortest time from one call's begin to the next one's.
    :param margin: room for clocks that do not agree.
    """

    calls: int
    window: timedelta
    spacing: timedelta = timedelta(0)
    margin: timedelta = timedelta(seconds=0.1)


@dataclass(frozen=True)
class Turn:
    """One call that was let through.

    :param owner: who calls; an owner has one call under way at most.
    :param ended: None while it is under way.
    """

    owner: str
    began: datetime
    ended: datetime | None = None

    def given_up(self, now: datetime) -> Turn:
        """The turn as one that has ended: now, if it was under way."""
        return (
            self if self.ended else replace(self, ended=min(max(now, self.began), self.began + LONGEST_CALL))
        )

    def busy_until(self, pace: Pace, now: datetime) -> datetime:
        """When the turn is free again; if the call is under way, the earliest that this can be."""
        ended = self.given_up(now).ended or now
        return ended + pace.window + pace.margin


def free_at(turns: Sequence[Turn], closed_until: datetime | None, pace: Pace, now: datetime) -> datetime:
    """When the next call may begin, `now` or later. With calls under way it may turn out to be later still."""
    busy = sorted(until for turn in turns if (until := turn.busy_until(pace, now)) > now)
    free = [now] if len(busy) < pace.calls else [busy[-pace.calls]]
    if closed_until is not None:
        free.append(closed_until)
    if turns:
        free.append(max(turn.began for turn in turns) + pace.spacing)
    return max(free)


def take(connection: Connection, account: str, owner: str, pace: Pace, now: datetime) -> Turn | datetime:
    """Take a turn, or say when to ask again."""
    turns, closed_until = _read(connection, account, locked=True)
    # A call of its own that was never ended died with an earlier try.
    turns = [turn.given_up(now) if turn.owner == owner else turn for turn in turns]
    free = free_at(turns, closed_until, pace, now)
    turn = Turn(owner, now)
    kept = [turn for turn in turns if turn.busy_until(pace, now) > now]
    _write(connection, account, turns=kept if free > now else [*kept, turn])
    return free if free > now else turn


def end(connection: Connection, account: str, turn: Turn, now: datetime) -> None:
    """End a call; nothing happens when its turn has been given up for dead and forgotten."""
    turns, _ = _read(connection, account, locked=True)
    _write(
        connection, account, turns=[replace(known, ended=now) if known == turn else known for known in turns]
    )


def hold_back(connection: Connection, account: str, until: datetime) -> None:
    """Let nobody of this account call before a moment: the vendor has said "too many"."""
    _, closed_until = _read(connection, account, locked=True)
    _write(connection, account, closed_until=max(until, closed_until or until))


def look(connection: Connection, account: str, pace: Pace, now: datetime) -> datetime:
    """When the next call may begin, as far as one can tell now."""
    turns, closed_until = _read(connection, account)
    return free_at(turns, closed_until, pace, now)


def _read(
    connection: Connection, account: str, *, locked: bool = False
) -> tuple[list[Turn], datetime | None]:
    if locked:
        insert_new(connection, table, account=account, turns=[])
    query = select(table.c.turns, table.c.closed_until).where(table.c.account == account)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    return ([], None) if row is None else ([_turn(entry) for entry in row.turns], row.closed_until)


def _write(connection: Connection, account: str, **values: Any) -> None:
    if "turns" in values:
        values["turns"] = [
            [turn.owner, turn.began.isoformat(), turn.ended and turn.ended.isoformat()]
            for turn in values["turns"]
        ]
    connection.execute(update(table).where(table.c.account == account).values(**values))


def _turn(entry: Sequence[str]) -> Turn:
    owner, began, ended = entry
    return Turn(owner, _moment(began), _moment(ended) if ended else None)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
