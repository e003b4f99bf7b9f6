"""The page of hygiene, `docs/hygiene.md`: from the rule packs, each value with its source, and the texts below."""

from __future__ import annotations

from typing import Final

from include.leads.packs import Attempts, ClosedOn, Pack, packs, version

HEAD: Final = """# Hygiene

What a flow can ask of its leads before they are sent. **These are product rules, not legal advice**: they were
read from the sources named below, on the dates named there, by people who are no lawyers. Where a source was
second hand, old or seen in part only, the last column says so. Have your own counsel go through the packs that
you use, and replace what you see differently.

Made from the code and the packs: `make docs`.

## Switch it on

```yaml
clean:
  packs:
    countries: [US]              # whose rules hold, their states included; leads of any other country are held
    calls: live                  # or automated: then consent is asked for where a pack says so
    state_field: state           # field of the lead's data with its state, by code or name
    outside_hours: hold          # or schedule: send it with its next moment; or dialer: the dialer keeps the hours
    override:
      US: {calling_hours: {mon-fri: "09:00-20:00", sat: "10:00-17:00"}}
      US-FL: {attempts: null}    # null takes a rule away
  suppression:
    - {name: national_dnc, file: s3://lists/dnc.txt, registry: US}   # at most 31 days old, as the pack says
```

Every key is on the page of [flow files](flows.md#packrules). Every row that a pack holds back carries rule,
pack, version and reason in its outcome ([reasons](reasons.md#held)); the report says which packs decided, what
told the time zones, and which rules of the packs nothing in the flow checks. It fails closed: what nobody knows
is held, never sent.

## Where a lead is

* **Country**: that of its number, by libphonenumber.
* **State**: the one of its address (`state_field`) and the one of its area code. Where they differ, the rules
  of both hold; where neither is known, the rules of all states of the country.
* **Time zone**: its own field (`timezone`, or `zone_field`), then its number, then its address; `zone_from`
  changes the order. A number that is tied to no area (a toll-free one, a mobile one in most countries) says
  only the country; then all zones of that country are possible. **Several possible zones mean the overlap of
  all**: the lead is called only when every one of these clocks allows it. Toll-free numbers of North America
  may be anywhere in two dozen countries, so they say nothing.
* **Contradictions** (the sources name zones whose clocks differ at this moment) are counted in the report. By
  default the overlap of all named zones holds; `zone_conflict` can trust the first source, or hold the lead.
* `UTC` and fixed offsets in a lead's own field are no places: they count as unreadable, and the next source is
  asked.

## When it may be called

The next window is looked for over two weeks, with the clock changes and holidays in them: a moment is open when
the wall clock of every zone and the hours of every jurisdiction say so. `outside_hours` decides what becomes of
a lead outside it:

| value | what happens | good for |
| --- | --- | --- |
| `hold` | it is held as `outside_calling_hours`; a later run takes it | lists that are dialled at once |
| `schedule` | it is sent with its next moment in a column, `from: call_from` or `from: call_until` | Platform \
`nextAttemptTimestamp`, iSales `recycleTime`, Ozonetel `ExpiryDate` |
| `dialer` | it is sent; map `from: zone` if the dialer wants it | dialers that keep calling hours themselves |

The moments are written in UTC (`2026-11-22T13:00:00Z`), which the Platform and iSales flows take as it is.
`time_format` and `time_zone` write them otherwise: Ozonetel's last day of dialling is `from: call_until` with
`"%Y-%m-%d"` and the dialer's own time zone. A list that is loaded at night and dialled in the morning wants
`schedule` or `dialer`: at night nearly every lead is outside its hours.

What is right is judged when the leads are cleaned. A dialer that calls from the list hours later needs hours of its
own; `at_least_minutes` leaves out windows that close too soon for that.

Mapped moments change from run to run, so a list with `call_from` is loaded anew each time instead of answering
*unchanged*.

## Outcome rules

What earlier calls say of a lead, from the calls that a source stages night by night:

```yaml
clean:
  calls:
    source: callers_calls                      # the calls of source `callers`: its file has `outcomes: {}`
    do_not_call: {wrap_code: [9, "Do not call"]}      # by id, or by the vendor's words in any case
    dead: {dial_status: ["Disconnected", 14]}         # such a number is not used for dead_days
    not_within_hours: 4
    attempts: {max: 6, hours: 168}             # besides the caps of the packs
```

| rule | what happens |
| --- | --- |
| `do_not_call` | `asked_not_to_call`, by any number of the lead or by its id, in every night that is still staged |
| `dead` | the number is not used; another one of the lead may be. Without any: `number_dead` |
| `not_within_hours` | `called_recently` |
| `attempts`, and the caps of the packs | `attempts_used_up`, by number or lead, whichever was called more often |

The newest staged night may be `max_age_hours` old, and never older than the shortest time in which the packs of
the flow want an opt-out followed; older calls stop the load (guard `calls_age`). Staged nights are not kept for
ever: put opt-outs on a suppression list of your own too.

## Scrub services

What somebody else must say of the number that was chosen for a lead:

```yaml
clean:
  scrub:
    - {name: washed, checks: registry, file: s3://lists/washed.csv, max_age_days: 30}
    - name: rnd
      checks: reassigned
      consent_date: consent_at         # field of the lead's data with the date of its consent
      file: rnd.csv
      words: {no: clear, yes: reassigned}
      max_age_days: 45
    - {name: types, checks: line_type, allow: [landline, voip], service: "my.scrubs:make", max_age_days: 90}
```

A file holds the answers that a service delivered: `phone`, `answer`, `checked` (the day of the answer, YYYY-MM-DD),
and for `reassigned` the `consent_date` that was asked about. An answer counts for another date where it holds there
too: not reassigned since May means not since June; reassigned since May means so since April. A `service` of your own
is a class or function that takes the name and returns an object with `check(numbers, consent_dates)`
(`include.leads.scrub.ScrubService`). Its answers are kept in the staging area, by hashes instead of numbers, and asked
for again after `max_age_days`; whoever tries all numbers can still undo such a hash, so guard the staging area.

| answer | what becomes of the lead |
| --- | --- |
| `listed`, `reassigned`, a type that is not in `allow` | suppressed: `scrub_listed`, `number_reassigned`, \
`line_type_refused` |
| none, too old, dated in the future, a word that `words` does not map | held: `scrub_unknown` |
| no date of consent, for `reassigned` | held: `consent_missing` |

A file that cannot be read, or a service that fails, stops the load. We checked none of this against a live service.

## One number, one list a night

Flows that share an `owner_group` call each number from one list a night, whatever vendors and sources they have:

```yaml
owner_group: nightly_us
priority: 10                   # the lowest number chooses first; among equals the first DAG id
priority_wait_minutes: 120     # how long a run waits for the released lists before it
priority_missing: stop         # or go_on: take what is free; the late list then holds those numbers
```

When a run has cleaned its leads, it claims their numbers for the night; numbers that another list has claimed are
held as `owned_by_another_list`, and the detail names the flow. No two lists can claim the same number, however
their runs overlap, crash or are repeated: the ledger takes a claim only from a run that has looked at all others.
A claim stands for the whole night, also when its load is refused or its run fails later: then nobody calls those
numbers that night, until the owner's run is repeated. A run that only plans, and a flow that is not released,
claims nothing and is waited for by nobody. What is claimed is the number that the clean step chose for a lead;
other phones that you send in columns of your own are not looked at. A flow whose file is broken is not waited for.

## The source's fields, and drift

**Contract.** A pull counts which fields its leads have, of which type (names and counts, never a value), and
keeps that beside the snapshot. What is new, missing or of another type than in the newest night before is told
in the log of the pull and in the report of each delivery; `contract: {on_change: stop}` in the source's file
makes no snapshot of such a night. `contract.fields` writes down what must be there instead: `{data.state:
text}`. A field that fewer than half of the leads had may be absent.

**Drift.** Each delivery sets its clean step against those of the last 14 nights of its flow: leads that came
in, share rejected, share of each reason, mix of areas (area code, else calling code). A figure has drifted when
it lies outside all that those nights showed *and* further from their median than six times their spread. The
spread is the median absolute deviation times 1.4826 (a standard deviation, which single odd nights do not
move), at least 5 % of the median for the volume, one percentage point for shares, two for areas. So a Sunday is
not measured by Mondays, and in quiet weeks 30 % more or fewer leads are still no news. It warns in the report;
`guards: {drift: {when: refuse}}` stops the load. With fewer than five earlier nights nothing is said.

## The packs

"""

NAMES: Final = {
    "calling_hours": "calling hours of the called party",
    "closed_on": "no calls on",
    "registry_max_age_days": "oldest registry file, days",
    "attempts": "most attempts of a number",
    "opt_out_days": "days to follow an opt-out",
    "consent_for": "calls that need consent",
}


def page() -> str:
    """Return `docs/hygiene.md`: the texts, and one table per country with every value of its packs."""
    countries = [pack for pack in packs().values() if "-" not in pack.code]
    return HEAD + "\n".join(_country(pack) for pack in countries)


def _country(country: Pack) -> str:
    lines = [
        f"### {country.name.partition(',')[0]}",
        "",
        "| pack | rule | value | source | as of | not settled |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for pack in packs().values():
        if pack.code[:2] != country.code:
            continue
        for name, fact in pack.facts.items():
            source = f"[{_cell(fact.source)}]({fact.url})"
            lines.append(
                f"| {pack.code} {version(pack.code)} | {NAMES[name]} | {_cell(_value(fact.value))} | {source} "
                f"| {fact.as_of} | {_cell(fact.unsure)} |"
            )
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    """A value of a pack in words."""
    if isinstance(value, dict):
        return ", ".join(f"{days} {hours}" for days, hours in value.items())
    if isinstance(value, ClosedOn):
        return ", ".join([*(f"public holidays of {code}" for code in value.calendars), *value.dates])
    if isinstance(value, Attempts):
        return f"{value.max} in {value.hours:g} hours"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
