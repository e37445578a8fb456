"""A listener of the test's start that raises: Locust goes on without what it was to prepare."""

from locust import HttpUser, constant, events, task


@events.test_start.add_listener
def on_test_start(environment, **kwargs):
    raise LookupError("no test data")


class Shopper(HttpUser):
    wait_time = constant(0.02)

    @task
    def home(self):
        self.client.get("/")
