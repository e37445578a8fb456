"""Why Locust ended: each sentence from a real Locust with a locustfile that is wrong in one way."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from loadtest.exit_reason import describe_exit
from loadtest.profile import validate_profile
from loadtest.validation.validation_run import run_load_test
from rollout.errors import SetupError

USER = """
from locust import HttpUser, constant, events, task
class Shopper(HttpUser):
    @task
    def home(self):
        self.client.get("/")
"""


@pytest.mark.parametrize(
    ("locustfile", "sentence"),
    [
        (
            "import no_such_package\n",
            r"cannot import what it needs: No module named 'no_such_package' \(mine.py, line 1\)",
        ),
        ("from locust import NoSuchName\n", "cannot import what it needs: cannot import name 'NoSuchName'"),
        ("def broken(:\n    pass\n", r"is not Python: .*\(mine.py, line 1\)"),
        ("if True:\nprint()\n", r"is not Python: expected an indented block .*\(mine.py, line 2\)"),
        ("import locust\n", "defines no user to run"),
        ("open('users.csv')\n", r"raised FileNotFoundError: .*users.csv' while it was loaded \(mine.py, line 1\)"),
        ("raise KeyboardInterrupt\n", "it was ended by SIGINT, as by Ctrl-C or a `KeyboardInterrupt`"),
        ("import sys\nsys.exit('no data')\n", "it ended by itself with exit code 1"),
        ("import sys\nsys.exit(9)\n", "it ended by itself with exit code 9"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "it was ended by SIGKILL"),
        (USER + "Shopper.weight = 0\n", "every user class of the locustfile has the weight 0"),
        (
            USER + "@events.init.add_listener\ndef _(environment, **_):\n    environment.no_such_thing\n",
            "an event listener of the locustfile raised AttributeError: .*no_such_thing",
        ),
        (
            USER + "@events.test_start.add_listener\ndef _(environment, **_):\n    environment.runner.quit()\n",
            "the locustfile sent no request: it ended the test before",
        ),
        (USER + "events.request_success.add_listener(print)\n", "raised AttributeError: .*request_success"),
    ],
)
def test_the_reason_is_told_in_a_sentence(locustfile: str, sentence: str, service: str, tmp_path: Path):
    (tmp_path / "mine.py").write_text(locustfile)
    data = {"model": "closed", "users": 1, "duration": "2s", "locustfile": "mine.py"}
    profile = validate_profile(data, folder=tmp_path)

    with pytest.raises(SetupError, match=sentence) as caught:
        run_load_test(profile, service, folder=tmp_path / "load", files=tmp_path)

    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("locust", "sentence"),
    [
        ({"user_classes": ["Nobody"]}, r"Unknown User\(s\): Nobody"),
        (
            {"arguments": {"no-such-option": "x"}},
            "Locust refused its options: unrecognized arguments: --no-such-option=x",
        ),
    ],
)
def test_options_that_do_not_fit_the_locustfile_are_told(
    locust: dict[str, object], sentence: str, service: str, tmp_path: Path
):
    (tmp_path / "mine.py").write_text(USER)
    data = {"model": "closed", "users": 1, "duration": "2s", "locustfile": "mine.py", "locust": locust}
    profile = validate_profile(data, folder=tmp_path)

    with pytest.raises(SetupError, match=sentence):
        run_load_test(profile, service, folder=tmp_path / "load", files=tmp_path)


@pytest.mark.parametrize(
    ("log", "code", "sentence"),
    [
        ("", None, "it wrote nothing"),
        ("Traceback (most recent call last):", 1, "it ended by itself with exit code 1"),  # cut off by a full disk
        ("Traceback (most recent call last):\n  File", 1, "it ended by itself with exit code 1"),
        ("\x00\udcff binary", None, "\x00\udcff binary"),
        ("", -64, "it was ended by SIGRTMAX"),
        ("", -99, "it was ended by signal 99"),
    ],
)
def test_a_log_that_says_nothing_still_gives_a_sentence(log: str, code: int | None, sentence: str):
    assert describe_exit(textwrap.dedent(log).splitlines(), code).startswith(sentence)
