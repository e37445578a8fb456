"""Users who end by themselves when their journey is over."""

from locust import HttpUser, constant, task
from locust.exception import StopUser


class Finite(HttpUser):
    wait_time = constant(0.01)

    def on_start(self):
        self.left = 150

    @task
    def walk(self):
        self.client.get("/walk")
        self.left -= 1
        if not self.left:
            raise StopUser
