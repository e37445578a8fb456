"""An option of the locustfile's own."""

from locust import HttpUser, constant, events, task


@events.init_command_line_parser.add_listener
def _(parser):
    parser.add_argument("--my-argument", type=str, env_var="LOCUST_MY_ARGUMENT", default="", help="It's working")


class WebsiteUser(HttpUser):
    wait_time = constant(0.02)

    @task
    def my_task(self):
        self.client.get(f"/{self.environment.parsed_options.my_argument}")
