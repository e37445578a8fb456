"""The locustfile's own verdict, as Locust's documentation shows it."""

import logging

from locust import HttpUser, constant, events, task


class Shopper(HttpUser):
    wait_time = constant(0.02)

    @task
    def home(self):
        self.client.get("/")


@events.quitting.add_listener
def _(environment, **kwargs):
    if environment.stats.total.get_response_time_percentile(0.95) > 0:
        logging.error("Test failed due to 95th percentile response time > 0 ms")
        environment.process_exit_code = 7
