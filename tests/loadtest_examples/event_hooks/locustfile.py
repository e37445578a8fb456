"""Every hook of a run, and one file that says that they were called, and in which folder."""

from pathlib import Path

from locust import HttpUser, constant, events, task
from locust.runners import MasterRunner, WorkerRunner

SEEN = Path(__file__).with_name("hooks.txt")


def note(word):
    with SEEN.open("a") as lines:
        lines.write(f"{word}\n")


@events.init.add_listener
def on_init(environment, **kwargs):
    assert not isinstance(environment.runner, (MasterRunner, WorkerRunner))
    note(f"init at {Path().absolute().name}")


@events.test_start.add_listener
def on_test_start(environment, **kwargs):
    environment.token = "secret"
    note(f"test_start {environment.host.rpartition(':')[0]}")


@events.request.add_listener
def on_request(context, exception, **kwargs):
    if exception is None and context:
        note(f"request of {context['user']}")


@events.test_stop.add_listener
def on_test_stop(environment, **kwargs):
    note("test_stop")


@events.quitting.add_listener
def on_quitting(environment, **kwargs):
    note("quitting")
    environment.process_exit_code = 0


class Hooked(HttpUser):
    wait_time = constant(0.02)

    def context(self):
        return {"user": "hooked"}

    @task
    def home(self):
        self.client.get("/", headers={"authorization": self.environment.token})
