"""The report page, from the record alone."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from random import Random

import pytest
from records import NOON, ROLLBACK_LINE, SAMPLES, demo_plan, held, interrupted, promoted, rolled_back

from report.rollout.page import render
from rollout.events import (
    Alarm,
    DecisionMade,
    Ended,
    EndState,
    Started,
    StepEnded,
    StepStarted,
    VerdictChanged,
)
from rollout.model import Basis, Outcome
from rollout.record import MAX_POINTS, RolloutRecord, SeriesPoint, dump_record, parse_record
from rollout.verdict_entries import FindingEntry, VerdictEntry

MEGABYTE = 1_000_000
VOID = {"meta", "br", "link", "img", "input", "hr"}
PAGES = {name: render(sample()) for name, sample in SAMPLES.items()}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())


class Reader(HTMLParser):
    """Reads a page, and minds that every element is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


def headline(page: str) -> str:
    found = re.search(r"<h1>.*?</span>\s*(.*?)</h1>", page, re.DOTALL)
    assert found
    return found[1]


@every_page
def test_a_page_needs_nothing_from_outside_itself(page: str) -> None:
    reader = read(page)

    assert not re.search(r"https?://|url\(|@import|javascript:", page)
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in reader.tags}
    assert not [attrs for _, attrs in reader.tags if {"src", "href"} & attrs.keys()]


@every_page
def test_a_page_closes_every_element_and_names_each_id_once(page: str) -> None:
    reader = read(page)

    assert reader.open == []
    ids = Counter(attrs["id"] for _, attrs in reader.tags if "id" in attrs)
    assert [name for name, times in ids.items() if times > 1] == []


@every_page
def test_every_chart_says_in_words_what_it_shows(page: str) -> None:
    reader = read(page)

    ids = {attrs.get("id") for _, attrs in reader.tags}
    charts = [attrs for tag, attrs in reader.tags if tag == "svg" and attrs.get("role") == "img"]
    for chart in charts:
        assert set(str(chart["aria-labelledby"]).split()) <= ids


@every_page
def test_headings_skip_no_level_and_tables_have_headers(page: str) -> None:
    tags = read(page).tags

    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all("scope" in attrs for tag, attrs in tags if tag == "th")


@every_page
def test_no_chart_holds_a_number_that_is_none(page: str) -> None:
    assert not re.search(r'="[^"]*\b(nan|inf)\b[^"]*"', page)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("promoted", "Promoted"),
        ("promoted-through-outage", "Promoted"),
        ("rolled-back", "Rolled back"),
        ("held", "Held"),
        ("interrupted", "Interrupted"),
        ("empty", "Interrupted"),
    ],
)
def test_the_outcome_comes_first(name: str, word: str) -> None:
    page = PAGES[name]

    assert headline(page) == word
    body = page[page.index("<body>") :]
    assert body.index("<h1>") < body.index('class="reason"') < body.index("<h2")


def test_a_failed_rollout_says_so_and_where_the_traffic_is() -> None:
    record = promoted()
    events = (*record.events[:-2], Ended(at=NOON, state=EndState.FAILED, reason="the gateway does not answer"))
    page = render(record.model_copy(update={"events": events}))

    assert headline(page) == "Failed"
    assert "The gateway does not answer." in page
    assert "last known weights: 0 % stable, 100 % canary" in page


def test_a_record_cut_short_says_where_and_which_weights_were_left() -> None:
    text = read(render(interrupted())).text

    assert "The record stops in step increase, at 14:04:20 UTC, without saying how it ended." in text
    assert "last known weights: 50 % stable, 50 % canary" in text


def test_an_empty_record_makes_a_page_that_says_so() -> None:
    assert "The record holds no event." in PAGES["empty"]


def test_a_rollback_tells_how_long_each_part_of_it_took() -> None:
    text = read(render(rolled_back())).text

    assert re.search(r"Fault to all on stable \d\.\d s \d+(\.\d)? s to decide, 41 ms from decision to gateway", text)
    assert "All traffic is on stable." in text
    assert re.search(r"Bad answers for \d\.\d s", text)


@pytest.mark.parametrize("name", ["promoted", "rolled-back", "held", "interrupted", "slow-canary"])
def test_every_findings_reason_is_on_the_page(name: str) -> None:
    record = SAMPLES[name]()
    verdicts = [event.verdict for event in record.of(StepEnded)]
    text = read(PAGES[name]).text.lower()

    for finding in (finding for verdict in verdicts for finding in verdict.findings):
        assert finding.reason.lower() in text


def test_an_open_finding_says_how_many_requests_and_how_much_time_are_missing() -> None:
    text = read(render(held())).text

    assert re.search(r"\d{3} of \d,\d{3} requests needed; about 7 min more\.", text)


def test_all_kinds_of_events_are_in_the_log() -> None:
    kinds = {event.kind for name in SAMPLES for event in SAMPLES[name]().events}
    pages = "".join(PAGES.values())

    assert len(kinds) == 13
    for kind in kinds:
        assert f'role="rowheader">{kind}</th>' in pages


def test_alarms_and_faults_have_a_letter_on_the_charts() -> None:
    page = PAGES["promoted-through-outage"]

    assert re.search(r'<li class="fault"><b>B</b> <time>1:02</time> <span>Fault: outage: both', page)
    assert re.search(r'<text class="mark fault" [^>]*>B</text>', page)
    assert '<li class="alarm">' in page


def test_failures_that_no_copy_of_the_service_answered_are_told_apart() -> None:
    text = read(PAGES["rolled-back"]).text

    assert re.search(r"canary – \d+ – – 0:27 0:3\d no copy of the service – 0 – – – – stable – 0 – – – 0:36", text)


HOSTILE = """<script>alert("x")</script><img src=x onerror='y'>{{ 7*7 }}</style></title>&amp;\u202e\x00"""


def hostile_record() -> RolloutRecord:
    finding = FindingEntry(
        criterion=HOSTILE, basis=Basis.RELATIVE, outcome=Outcome.FAIL, reason=HOSTILE, unit=HOSTILE, estimate=1.0
    )
    verdict = VerdictEntry(
        outcome=Outcome.FAIL,
        reason=HOSTILE,
        findings=(finding,),
        rollback_evidence=5.0,
        rollback_needed=ROLLBACK_LINE,
        promotion_evidence=0.0,
        promotion_needed=3.0,
    )
    return RolloutRecord(
        events=(
            Started(at=NOON, rollout=HOSTILE, plan=demo_plan(), who=HOSTILE, backend=HOSTILE, note=HOSTILE),
            StepStarted(at=NOON, step=HOSTILE, canary=20),
            Alarm(at=NOON, what=HOSTILE),
            VerdictChanged(at=NOON, step=HOSTILE, verdict=verdict),
            DecisionMade(at=NOON, step=HOSTILE, decision="roll back", reason=HOSTILE),
            Ended(at=NOON + timedelta(seconds=9), state=EndState.ROLLED_BACK, reason=HOSTILE),
        ),
        series={f"evidence.rollback.{HOSTILE}": (SeriesPoint.single(HOSTILE, NOON, 1.0),)},
    )


def test_hostile_text_stays_text() -> None:
    page = render(hostile_record())
    reader = read(page)

    assert not {"script", "img"} & {tag for tag, _ in reader.tags}
    assert escape("<script>alert(").replace("&quot;", "&#34;") in page
    assert "{{ 7*7 }}" in reader.text
    assert not {"\u202e", "\x00"} & set(page)
    assert reader.open == []


def full_record() -> RolloutRecord:
    """As much as a record may hold: thinned series at their limit, and a day of changing verdicts."""
    random, plan = Random(11), demo_plan()
    names = [f"{track}.{what}" for track in ("stable", "canary") for what in ("requests", "error_ratio", "latency_ms")]
    names += ["share", "weight_asked", "evidence.rollback", "evidence.promotion"]
    names += [f"evidence.{side}.{i}" for side in ("rollback", "promotion") for i in range(5)]
    series = {
        name: tuple(
            SeriesPoint(
                series=name, at=NOON + timedelta(seconds=45 * i), low=mean - 1, mean=mean, high=mean + 1, count=16
            )
            for i, mean in enumerate(random.uniform(0, 9) for _ in range(MAX_POINTS))
        )
        for name in names
    }
    sample = promoted()
    verdict = sample.of(VerdictChanged)[0]
    changes = [verdict.model_copy(update={"at": NOON + timedelta(seconds=20 * i)}) for i in range(4000)]
    start = Started(at=NOON, rollout="r", plan=plan, who="maria", backend="local")
    end = Ended(at=NOON + timedelta(seconds=45 * MAX_POINTS), state=EndState.PROMOTED, reason="all passed")
    return RolloutRecord(events=(start, *changes, *sample.events[1:-2], end), series=series)


def test_the_fullest_record_makes_a_page_below_a_megabyte() -> None:
    record = full_record()
    page = render(record)

    assert len(record.series) == 20
    assert len(page.encode()) < MEGABYTE
    assert "4,009 of the record's events are left out here" in read(page).text
    assert headline(page) == "Promoted"


def test_the_same_record_gives_the_same_page() -> None:
    record = rolled_back()

    assert render(record) == render(record) == render(parse_record(dump_record(record)))


def test_steps_too_short_to_see_are_drawn_wider_and_the_page_says_so() -> None:
    page = PAGES["promoted-in-a-day"]

    assert "short steps are drawn wider than long ones" in page
    assert ">introduce 20 %</text>" in page
    assert "short steps" not in PAGES["promoted"]
