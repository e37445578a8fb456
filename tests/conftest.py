from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

# Nothing is timed in a test: a busy machine is no fault of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# Of a mutant it is enough to know that a test fails: the smallest example is not looked for.
settings.register_profile(
    "mutants", settings.get_profile("untimed"), database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("untimed")
