"""A greenlet that ends the test once enough has failed."""

import time

import gevent
from locust import HttpUser, constant, events, task
from locust.runners import STATE_CLEANUP, STATE_STOPPED, STATE_STOPPING, WorkerRunner


def checker(environment):
    while environment.runner.state not in [STATE_STOPPING, STATE_STOPPED, STATE_CLEANUP]:
        time.sleep(0.2)
        if environment.runner.stats.total.fail_ratio > 0.2:
            environment.runner.quit()
            return


@events.init.add_listener
def on_locust_init(environment, **_kwargs):
    if not isinstance(environment.runner, WorkerRunner):
        gevent.spawn(checker, environment)


class Shopper(HttpUser):
    wait_time = constant(0.02)

    @task
    def home(self):
        self.client.get("/bad")
