"""What the locustfile says of an answer counts: a 404 and a 500 that are right, a 200 that is wrong."""

from locust import FastHttpUser, HttpUser, constant, task


class Checked(HttpUser):
    wait_time = constant(0.02)

    @task
    def not_found_is_right(self):
        with self.client.get("/status/404", catch_response=True) as response:
            if response.status_code == 404:
                response.success()

    @task
    def wrong_content(self):
        with self.client.get("/wrong", catch_response=True) as response:
            if response.text != "Success":
                response.failure("Got wrong response")


class CheckedFast(FastHttpUser):
    wait_time = constant(0.02)

    @task
    def error_is_right(self):
        with self.client.get("/status/500", catch_response=True) as response:
            response.success()

    @task
    def wrong_content(self):
        with self.client.get("/wrong", catch_response=True) as response:
            response.failure("Got wrong response")
