"""A rollout as a person does it at Prefect's pages: in Chromium, with a real server, worker and embedded backend.

With `CANARY_SCREENSHOTS` naming a folder, the pages are left there as pictures.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from flows.page.run_page_signals import WHO
from flows.server.prefect_services import DEPLOYMENTS
from rollout.events import (
    DecisionMade,
    Ended,
    EndState,
    SignalReceived,
    StepStarted,
)
from rollout.model import AT_REST, Weights
from rollout.signals import Signal, SignalKind
from tests.e2e.upstage import PLAN, Up, until, upstage
from wiring.guard_watch import ALL_WELL

pytestmark = pytest.mark.e2e

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PICTURES = os.environ.get("CANARY_SCREENSHOTS")
_UNSEEN = () if _PICTURES else ("--disable-3d-apis",)
"""Without its graphics the timeline takes a third less of the processor."""
_PAGE_MILLISECONDS = 60_000
TWO = (("first", "20%"), ("second", "100%"))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with upstage(tmp_path_factory.mktemp("up") / "demo") as parts:
        yield parts


@pytest.fixture(autouse=True)
def at_rest(up: Up) -> None:
    """A rollout begins only where stable has all the traffic."""
    up.world.router.set_weights(AT_REST)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if _CHROMIUM is None:
        pytest.skip("no Chromium on the PATH; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=_QUIET + _UNSEEN)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own: one that is left open draws its moving timeline on, on half a core."""
    page = browser.new_page(viewport={"width": 1280, "height": 960})
    page.set_default_timeout(_PAGE_MILLISECONDS)
    yield page
    page.close()


def picture(page: Page, name: str) -> None:
    if _PICTURES:
        page.wait_for_timeout(1500)  # its timeline moves until then
        page.screenshot(path=Path(_PICTURES) / f"{name}.png")


def form_of(up: Up, page: Page, deployment: str = "canary-rollout") -> Locator:
    """Open a deployment's form, by the clicks that lead there."""
    page.goto(f"{up.prefect.url}/deployments")
    page.get_by_text(deployment, exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("button", name="Custom run").click()
    page.get_by_role("button", name="Submit").wait_for()
    return page.locator("form")


def submitted(up: Up, page: Page, flow: str = "canary_rollout") -> str:
    """Submit a flow's form, and return the run that comes of it."""
    before, button = up.runs(flow), page.get_by_role("button", name="Submit")
    page.wait_for_load_state("networkidle")

    def made() -> set[str]:
        if button.is_visible():  # what a click asked for before the form's schema had come is not done
            button.click()
            page.wait_for_timeout(10_000 if button.is_visible() else 0)
        return up.runs(flow) - before

    (run,) = until(made, "the form made no run")
    return str(run)


def open_run(up: Up, page: Page, run: str) -> None:
    page.goto(f"{up.prefect.url}/runs/flow-run/{run}")
    page.get_by_role("button", name="Cancel").or_(page.get_by_role("button", name="Retry")).first.wait_for()


def said(up: Up, rollout: str, word: str) -> SignalReceived:
    """Wait for a word, and return it."""

    def heard() -> SignalReceived | None:
        events = up.world.ledger(rollout).read().events
        return next((event for event in events if isinstance(event, SignalReceived) and event.word == word), None)

    found: SignalReceived = until(heard, f"{word} is not heard")
    return found


def ended(up: Up, rollout: str) -> Ended:
    found: Ended = until(lambda: up.world.ledger(rollout).read().ended, f"{rollout} does not end")
    return found


def has_begun(up: Up, rollout: str) -> bool:
    return bool(steps_of(up, rollout))


def steps_of(up: Up, rollout: str) -> list[str]:
    """Return the steps that have begun, in order."""
    return [event.step for event in up.world.ledger(rollout).read().of(StepStarted)]


def rollout_of(up: Up, run: str) -> str:
    """Wait for the record that a run makes, and return its name."""

    def named() -> str | None:
        for name in up.world.rollouts():
            started = up.world.ledger(name).read().started
            if started and started.flow_run == run:
                return name
        return None

    return str(until(named, f"{run} has no record"))


def test_a_wrong_value_in_the_form_is_refused_in_our_words_and_nothing_is_touched(up: Up, page: Page) -> None:
    form = form_of(up, page)
    told = form.inner_text()
    assert told.index("Service") < told.index("Steps") < told.index("Criteria") < told.index("target")
    picture(page, "form")
    form.locator("textarea").first.fill("Shop!")  # the service

    run = submitted(up, page)

    state = up.reaches(run, "FAILED")
    assert state["name"] == "Refused"
    assert state["message"].startswith("plan: service: got 'Shop!'")
    open_run(up, page, run)
    page.get_by_text("Finished in state Refused").first.wait_for()
    assert page.get_by_text("Traceback").count() == 0
    picture(page, "refused")
    assert up.world.router.read_weights() == AT_REST
    assert up.world.rollouts() == ()


def test_a_rollout_is_started_watched_and_approved_at_its_pages(up: Up, page: Page) -> None:
    form_of(up, page)

    run = submitted(up, page)  # what the form holds at first

    up.reaches(run, "PAUSED")
    open_run(up, page, run)
    page.get_by_text("20 % for 5 s").first.wait_for()
    picture(page, "waits")
    page.get_by_role("button", name="Resume").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("v2 has passed step introduce, 20 %").wait_for()
    dialog.get_by_text("Is it shown to be healthy?").wait_for()
    dialog.locator("textarea").fill("looks good")
    dialog.get_by_role("button", name="Submit").click()
    dialog.get_by_text("'choice' is a required property").wait_for()  # nothing is approved by a click alone
    dialog.locator(".p-select button").press("ArrowDown")  # a click's two halves open and shut it
    page.get_by_role("option", name="approve", exact=True).click()
    picture(page, "approval")
    dialog.get_by_role("button", name="Submit").click()
    assert said(up, rollout_of(up, run), "approve").reason == "looks good"
    assert up.reaches(run, "COMPLETED", "FAILED")["name"] == "Promoted"
    open_run(up, page, run)
    page.get_by_text("Promoted", exact=True).first.wait_for()
    picture(page, "run")
    shows_its_artifacts(up, page, run)


def shows_its_artifacts(up: Up, page: Page, run: str) -> None:
    found = up.artifacts(run)
    assert sorted(found) == ["evidence", "findings", "progress", "report"]
    assert found["progress"]["data"] == 100
    for key, shown in (
        ("report", page.get_by_role("heading", name="Promoted")),
        ("findings", page.get_by_text("latency ratio")),
        ("evidence", page.locator("img[src^='data:image/svg']")),
        ("progress", page.get_by_text("Progress: 100%")),
    ):
        page.goto(f"{up.prefect.url}/artifacts/artifact/{found[key]['id']}")
        shown.first.wait_for()
        picture(page, key)
    assert page.evaluate("() => [...document.images].every(one => one.complete)")


def test_a_run_that_is_cancelled_at_its_page_is_rolled_back_at_the_gateway(up: Up, page: Page) -> None:
    form_of(up, page)
    run = submitted(up, page)
    until(lambda: has_begun(up, rollout_of(up, run)), "the canary has no traffic")
    open_run(up, page, run)

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Confirm").click()

    until(lambda: up.world.router.read_weights() == AT_REST, "the gateway was not told")
    # Where the worker's SIGTERM comes before our own look at the run, the rollout ends as failed, by way of stable too.
    assert ended(up, rollout_of(up, run)).state in {EndState.ROLLED_BACK, EndState.FAILED}
    up.reaches(run, "CANCELLED")
    open_run(up, page, run)
    page.get_by_text("Cancelled", exact=True).first.wait_for()
    picture(page, "cancelled")


def test_a_run_that_is_suspended_at_its_page_is_held_watched_on_and_gone_on_with(up: Up, page: Page) -> None:
    steps = [{"name": name, "canary": share, "replicas": 1, "bake": "1h", "deadline": "2h"} for name, share in TWO]
    run = up.start("canary-rollout", plan=PLAN | {"steps": steps}, rollout_id="suspended")
    until(lambda: has_begun(up, "suspended"), "the canary has no traffic")
    open_run(up, page, run)

    page.get_by_role("button", name="Suspend").click()
    page.get_by_role("dialog").get_by_role("button", name="Submit").click()
    said(up, "suspended", "pause")
    until(lambda: up.run(run)["state"]["name"] == "Paused", "the page does not show that it is held")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button", name="Submit").click()

    said(up, "suspended", "resume")
    up.world.signals("suspended").send(Signal(SignalKind.PROMOTE, "seen enough", "a test", datetime.now(UTC)))
    assert up.reaches(run, "COMPLETED", "FAILED")["name"] == "Promoted"
    assert steps_of(up, "suspended") == [name for name, _ in TWO]


def test_orders_from_the_other_forms_reach_a_rollout(up: Up) -> None:
    rollout = up.start("canary-rollout", rollout_id="ordered")
    until(lambda: has_begun(up, "ordered"), "the canary has no traffic")

    for word in ("pause", "resume"):
        told = up.reaches(up.start("steer", word=word, reason="lunch"), "COMPLETED", "FAILED")
        assert told["name"] == "Said"
        assert said(up, "ordered", word).reason == "lunch"
        until(lambda word=word: is_shown(up, rollout, word), f"the page does not follow {word}")
    assert until(lambda: looked(up), "the guard's flow does not look") == ALL_WELL
    restored = up.reaches(up.start("emergency-rollback", reason="the shop is closed"), "COMPLETED", "FAILED")

    assert restored["name"] == "Restored"
    assert up.world.router.read_weights() == AT_REST
    assert ended(up, "ordered").state is EndState.ROLLED_BACK
    assert up.reaches(rollout, "FAILED", "COMPLETED")["name"] == "Rolled back"


def looked(up: Up) -> str:
    """Let the guard's flow look once; it does not while its schedule has just begun another look."""
    state = up.reaches(up.start("guard"), "COMPLETED", "FAILED", "CANCELLED")
    return "" if state["type"] == "CANCELLED" else str(state["message"])


def is_shown(up: Up, run: str, word: str) -> bool:
    """Whether the page of a run shows that it is paused, or goes on."""
    state = up.run(run)["state"]
    is_held = state["type"] == "PAUSED" and state["message"] != "waits for approval"
    return bool(is_held == (word == "pause"))


def test_a_step_is_skipped_by_its_form_and_the_rest_promoted_at_once(up: Up, page: Page) -> None:
    step = {"replicas": 1, "bake": "1h", "deadline": "2h"}
    steps = [
        {"name": name, "canary": share} | step
        for name, share in (("first", "20%"), ("second", "50%"), ("third", "100%"))
    ]
    run = up.start("canary-rollout", plan=PLAN | {"steps": steps}, rollout_id="hurried")
    until(lambda: has_begun(up, "hurried"), "the canary has no traffic")

    form = form_of(up, page, "steer")
    form.get_by_role("button", name="pause", exact=True).press("ArrowDown")
    page.get_by_role("option", name="skip", exact=True).click()
    form.locator("textarea").first.fill("seen enough")
    picture(page, "steer")
    assert up.reaches(submitted(up, page, "steer"), "COMPLETED", "FAILED")["name"] == "Said"
    until(lambda: steps_of(up, "hurried") == ["first", "second"], "the step was not skipped")
    assert up.reaches(up.start("steer", word="promote", reason="the sale"), "COMPLETED", "FAILED")["name"] == "Said"

    assert up.reaches(run, "COMPLETED", "FAILED")["name"] == "Promoted"
    assert steps_of(up, "hurried") == ["first", "second", "third"]
    assert up.world.router.read_weights() == Weights(0, 100)
    heard = [said(up, "hurried", word) for word in ("skip", "promote")]
    assert [(one.who, one.reason) for one in heard] == [(WHO, "seen enough"), (WHO, "the sale")]
    assert decided(up, "hurried") == [
        f"the rest of the step skipped by {WHO}: seen enough",
        *[f"promoted at once by {WHO}: the sale"] * 2,
    ]


def decided(up: Up, rollout: str) -> list[str]:
    """Return what let a rollout leave each of its steps."""
    events = up.world.ledger(rollout).read().events
    made = [event for event in events if isinstance(event, DecisionMade) and event.decision != "hold"]
    return [event.reason.partition(";")[0] for event in made]


def test_the_rollback_is_drilled_by_its_form(up: Up) -> None:
    up.reaches(up.start("emergency-rollback", reason="a drill needs rest"), "COMPLETED")

    run = up.start("rollback-drill")

    state = up.reaches(run, "COMPLETED", "FAILED")
    assert state["name"] == "Proven", state["message"]
    shown = up.artifacts(run)["rollback-drill"]
    assert "0 without the mark" in shown["description"]
    assert "route taken back" in shown["data"]
    assert up.world.router.read_weights() == AT_REST


def test_every_deployment_is_described_and_what_nobody_asked_for_is_switched_off(up: Up) -> None:
    found = {name: up.deployment(name) for name in DEPLOYMENTS}

    assert all(one["description"] and "canary" in one["tags"] for one in found.values())
    active = {name: [each["active"] for each in one["schedules"]] for name, one in found.items()}
    assert {name: said for name, said in active.items() if said} == {
        "canary-rollout": [False],
        "load-test-validation": [False],
        "guard": [True],
        "rollback-drill": [False],
    }
    assert found["canary-rollout"]["parameters"]["plan"]["steps"][0]["name"] == "introduce"


def test_a_run_that_a_schedule_begins_is_a_dry_one_and_touches_nothing(up: Up) -> None:
    before, now = up.world.rollouts(), datetime.now(UTC)

    up.schedule(
        "canary-rollout", {"interval": 20, "anchor_date": (now + timedelta(seconds=6)).isoformat()}, dry_run=True
    )

    run = up.next_run("canary_rollout", after=now)
    assert run["created_by"]["type"] == "SCHEDULE"
    assert up.reaches(run["id"], "COMPLETED", "FAILED")["name"] == "Dry run"
    assert "introduce" in up.artifacts(run["id"])["what-would-happen"]["data"]
    assert up.world.rollouts() == before
