"""What a plan can see, as one self-contained HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from analysis.offline.power import Detection, Power, StepPower
from report.charts.axes import Tick
from rollout.formatting import NOTHING, format_count, format_number, format_ratio, format_span
from rollout.plan import RolloutPlan

_MARKS = ((1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (21600, "6 h"), (86400, "1 d"))


@dataclass(frozen=True, slots=True)
class Scale:
    """A logarithmic axis of time, in seconds."""

    low: float
    high: float

    def place(self, seconds: float) -> float:
        """Return where a moment lies, in percent of the width."""
        inside = min(max(seconds, self.low), self.high)
        return round(100 * math.log(inside / self.low) / math.log(self.high / self.low), 2)

    @property
    def ticks(self) -> list[Tick]:
        """The round times on it, and their places."""
        marks = [*_MARKS, *((86400.0 * days, f"{days} d") for days in (3, 10, 30, 100, 300, 1000, 3000))]
        return [Tick(self.place(seconds), label) for seconds, label in marks if self.low <= seconds <= self.high]


@dataclass(frozen=True, slots=True)
class PowerRow:
    """One line of a chart: places in percent of the width, None for what does not happen."""

    name: str
    note: str
    median: float | None
    p90: float | None
    value: str
    tone: str
    bar: float | None = None
    """Where a span that is given ends, from the left."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart of times."""

    title: str
    sentence: str
    rows: tuple[PowerRow, ...]
    ticks: tuple[Tick, ...]
    lines: tuple[Tick, ...] = ()
    """Where the steps begin."""


def render_power(plan: RolloutPlan, power: Power, *, source: str) -> str:
    """Return the page on what a plan can see.

    The page needs nothing beside itself: no network, no scripts.

    Parameters
    ----------
    plan, power
        The plan, and what was found out about it.
    source
        Where the traffic's figures come from, in a few words.
    """
    scale = Scale(
        max(plan.scrape.total_seconds() / 2, 0.5), max(sum(step.bake for step in power.steps), power.steps[0].deadline)
    )
    return _template().render(
        plan=plan,
        power=power,
        source=source,
        headline=headline(power),
        style=tone(power),
        panels=[_detection_panel(plan, power, scale), _promotion_panel(power, scale)],
        steps=[_step_row(power, step) for step in power.steps],
    )


def headline(power: Power) -> str:
    """Return in one sentence what a healthy canary has to expect."""
    late = [step for step in power.steps if step.median is None]
    if late:
        steps = " and ".join(step.step for step in late)
        return f"At this traffic most healthy canaries will not be shown healthy: {steps} ends inconclusive."
    whole = format_span(power.promoted_after or 0.0)
    slow = [step.step for step in power.steps if step.median is not None and step.median > step.bake]
    if slow:
        return (
            f"A typical healthy canary is through after {whole}: {' and '.join(slow)} takes longer than its bake time."
        )
    return f"A typical healthy canary is through after {whole}, as soon as the steps have baked."


def tone(power: Power) -> str:
    """Return the style of the page's head."""
    if any(step.median is None for step in power.steps):
        return "bad"
    return "open" if any(step.median is not None and step.median > step.bake for step in power.steps) else "good"


def locust_advice(power: Power, step: StepPower) -> str:
    """Return the load that Locust would have to add for a step's bake time to be enough."""
    added = step.top_up(power.traffic.rps)
    if added is None or step.rate_needed is None:
        return "no rate: bake longer"
    if added <= 0:
        return f"enough from {format_number(float(f'{step.rate_needed:.2g}'))}/s"
    return f"add {format_count(math.ceil(added))}/s, to {format_count(math.ceil(step.rate_needed))}/s"


def whole_percent(part: float) -> str:
    """Return a share of the simulated rollouts, of which there are too few for a decimal."""
    return f"{round(100 * part)} %"


def moments(each: Detection | StepPower) -> tuple[str, str]:
    """Return the median and the time for nine of ten, in words."""
    median, p90 = ("never" if at is None else format_span(at) for at in (each.median, each.p90))
    return median, p90


def _detection_panel(plan: RolloutPlan, power: Power, scale: Scale) -> Panel:
    return Panel(
        title="How soon a fault is found and rolled back",
        sentence="Since the canary's first request. The dot is where half of the faulty canaries have been rolled "
        "back, the line ends where nine of ten have.",
        rows=tuple(_row(scale, each.effect, each, _detection_note(each)) for each in power.detections),
        ticks=tuple(scale.ticks),
        lines=tuple(_step_starts(plan, power.steps, scale)),
    )


def _detection_note(each: Detection) -> str:
    return "" if each.detected >= 1 else f"{whole_percent(each.detected)} found before the last bake is over"


def _step_starts(plan: RolloutPlan, steps: Sequence[StepPower], scale: Scale) -> list[Tick]:
    began, ticks = 0.0, list[Tick]()
    for step in steps:
        ticks.append(Tick(scale.place(began), step.step))
        began += step.bake
    if plan.warm_up:
        ticks.append(Tick(scale.place(plan.warm_up.total_seconds()), "warm-up"))
    return sorted(ticks[1:], key=lambda tick: tick.value)


def _promotion_panel(power: Power, scale: Scale) -> Panel:
    rows = (
        _row(scale, f"{step.step}, {format_ratio(step.share)}", step, _promotion_note(step), bar=scale.place(step.bake))
        for step in power.steps
    )
    return Panel(
        title="How soon a healthy canary can move on",
        sentence="Since the step began. The grey bar is the bake time; a dot inside it means that half of the healthy "
        "canaries are shown healthy before it is over.",
        rows=tuple(rows),
        ticks=tuple(scale.ticks),
    )


def _promotion_note(step: StepPower) -> str:
    return f"{whole_percent(step.passed)} pass within the bake time of {format_span(step.bake)}"


def _row(scale: Scale, name: str, each: Detection | StepPower, note: str, bar: float | None = None) -> PowerRow:
    median, p90 = (None if at is None else scale.place(at) for at in (each.median, each.p90))
    return PowerRow(
        name=name,
        note=note,
        median=median,
        p90=p90 if p90 is not None or median is None else 100.0,
        value=moments(each)[0],
        tone="bad" if median is None else "good" if bar is None or median <= bar else "open",
        bar=bar,
    )


def _step_row(power: Power, step: StepPower) -> dict[str, str]:
    median, p90 = moments(step)
    return {
        "name": step.step,
        "share": format_ratio(step.share),
        "bake": format_span(step.bake),
        "median": median,
        "p90": p90,
        "passed": whole_percent(step.passed),
        "locust": locust_advice(power, step),
    }


@cache
def _template() -> Template:
    package = files("report") / "templates"
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=DictLoader({"power.html": package.joinpath("power.html").read_text(encoding="utf-8")}),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": format_ratio, "number": format_number, "span": format_span}
    sheets = (package.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "power.css"))
    environment.globals |= {"sheet": Markup("".join(sheets)), "nothing": NOTHING}
    return environment.get_template("power.html")
