"""Users of several classes, by weight and by number; and one that the profile leaves out."""

from locust import FastHttpUser, HttpUser, constant, task


class WebUser(HttpUser):
    weight = 3
    wait_time = constant(0.02)

    @task
    def home(self):
        self.client.get("/web")


class MobileUser(FastHttpUser):
    weight = 1
    wait_time = constant(0.02)

    @task
    def home(self):
        self.client.get("/mobile")


class AdminUser(FastHttpUser):
    fixed_count = 1
    wait_time = constant(0.02)

    @task
    def restart_app(self):
        self.client.post("/restart")


class Unwanted(FastHttpUser):
    @task
    def home(self):
        self.client.get("/unwanted")
