"""Two stages of a shape that then comes to its end."""

from locust import HttpUser, LoadTestShape, constant_pacing, task


class Shopper(HttpUser):
    wait_time = constant_pacing(0.05)

    @task
    def home(self):
        self.client.get("/")


class StagesShape(LoadTestShape):
    stages = [{"duration": 1.5, "users": 2, "spawn_rate": 10}, {"duration": 3, "users": 8, "spawn_rate": 10}]  # noqa: RUF012

    def tick(self):
        run_time = self.get_run_time()
        for stage in self.stages:
            if run_time < stage["duration"]:
                return stage["users"], stage["spawn_rate"]
        return None
