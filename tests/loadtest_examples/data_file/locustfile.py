"""Users fed from a file beside the locustfile, with a package of its own that is called as one of ours."""

import csv
from itertools import cycle

from locust import HttpUser, SequentialTaskSet, constant_throughput, task

from loadtest.steps import log_in

with open("users.csv") as rows:  # noqa: PTH123 - as almost all do
    USERS = cycle(list(csv.DictReader(rows)))


class Buy(SequentialTaskSet):
    def on_start(self):
        log_in(self.client, next(USERS)["user"])
        with open("users.csv") as rows:  # noqa: PTH123
            assert rows.readline()

    @task
    def browse(self):
        self.client.get("/items?page=1", name="/items")

    @task
    class Pay(SequentialTaskSet):
        @task
        def choose(self):
            self.client.get("/pay")

        @task
        def leave(self):
            self.interrupt()

    @task
    def leave(self):
        self.interrupt(reschedule=False)


class Shopper(HttpUser):
    wait_time = constant_throughput(20)
    tasks = [Buy]  # noqa: RUF012
