"""A client of the user's own, which fires Locust's event by itself, with no response; some of its calls fail."""

import http.client
import time
from urllib.parse import urlsplit

from locust import User, constant, task


class Client:
    def __init__(self, host, request_event):
        self._host, self._request_event = urlsplit(host).netloc, request_event

    def __getattr__(self, name):
        def call():
            meta = {"request_type": "rpc", "name": name, "response_length": 0, "exception": None}
            began = time.perf_counter()
            try:
                connection = http.client.HTTPConnection(self._host)
                connection.request("GET", "/json")
                connection.getresponse().read()
                if name == "throw_error":
                    raise RuntimeError("the call was refused")
            except RuntimeError as error:
                meta["exception"] = error
            self._request_event.fire(response_time=(time.perf_counter() - began) * 1000, **meta)

        return call


class RpcUser(User):
    abstract = True

    def __init__(self, environment):
        super().__init__(environment)
        self.client = Client(self.host, environment.events.request)


class MyUser(RpcUser):
    wait_time = constant(0.02)

    @task(9)
    def get_time(self):
        self.client.get_time()

    @task
    def throw_error(self):
        self.client.throw_error()
        self.environment.events.request.fire(  # a message that came by itself: nothing was waited for
            request_type="push", name="news", response_time=None, response_length=0, exception=None, context={}
        )
