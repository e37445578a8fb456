"""Requests to a host that must not be loaded: by its address, and after a redirect."""

import contextlib

from locust import FastHttpUser, HttpUser, constant, task


class Wandering(HttpUser):
    wait_time = constant(0.02)

    @task
    def home(self):
        self.client.get("/")

    @task
    def elsewhere(self):
        self.client.get("http://shop.example/")

    @task
    def redirected(self):
        with contextlib.suppress(Exception):
            self.client.get("/away")


class WanderingFast(FastHttpUser):
    wait_time = constant(0.02)

    @task
    def elsewhere(self):
        self.client.get("https://shop.example:8443/")

    @task
    def redirected(self):
        self.client.get("/away")
