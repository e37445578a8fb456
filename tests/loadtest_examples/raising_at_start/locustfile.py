"""Users who never come to a task: their log-in raises."""

from locust import HttpUser, task


class Shopper(HttpUser):
    def on_start(self):
        self.token = self.client.post("/login", json={}).json()["token"]

    @task
    def home(self):
        self.client.get("/", headers={"authorization": self.token})
