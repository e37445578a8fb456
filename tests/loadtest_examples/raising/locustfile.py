"""Tasks that raise after an answer of 200."""

from locust import HttpUser, constant, task


class Shopper(HttpUser):
    wait_time = constant(0.02)

    @task
    def order(self):
        order = self.client.get("/json").json()
        self.client.get(f"/order/{order['order_id']}")

    @task
    def check(self):
        response = self.client.get("/json")
        assert response.elapsed.total_seconds() < 0, "took too long"
