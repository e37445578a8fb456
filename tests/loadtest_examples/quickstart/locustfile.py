"""Users who log in, look at the front page often and at ten items now and then."""

import time

from locust import HttpUser, between, task


class QuickstartUser(HttpUser):
    wait_time = between(0.01, 0.03)

    @task
    def hello_world(self):
        self.client.get("/hello")
        self.client.get("/world")

    @task(3)
    def view_items(self):
        for item_id in range(3):
            self.client.get(f"/item?id={item_id}", name="/item")
            time.sleep(0.01)

    def on_start(self):
        self.client.post("/login", json={"username": "foo", "password": "bar"})
