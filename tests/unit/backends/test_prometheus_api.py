"""Queries to a server that answers anything, at any speed: an answer, or an error of ours."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.prometheus.api import PrometheusApi, QueryResult
from backends.prometheus.deadline import time_limit
from backends.prometheus.http_config import Access
from backends.prometheus.query_results import decode, matrix, vector
from rollout.errors import AccessDeniedError, UnavailableError

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
LABELS = {"__name__": "requests_total", "pod": "a"}
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
Talk = Callable[[socket.socket, bytes], None]


@contextmanager
def serving(talk: Talk) -> Iterator[str]:
    """Serve each connection by a function that gets the socket and the request, and yield the address."""
    listener = socket.create_server(("127.0.0.1", 0))
    ending = threading.Event()

    def handle(connection: socket.socket) -> None:
        with connection:
            request = b""
            while b"\r\n\r\n" not in request and (part := connection.recv(65536)):
                request += part
            with suppress(OSError):  # the client may have had enough
                talk(connection, request)

    def accept() -> None:
        while not ending.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    ending.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def answering(body: bytes, head: bytes = OK) -> Talk:
    def talk(connection: socket.socket, request: bytes) -> None:
        connection.sendall(head + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)

    return talk


def document(*series: Any, kind: str = "matrix", **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": list(series)}} | more


def ask(url: str, access: Access | None = None, *, seconds: float = 5, most: int = 2**20) -> QueryResult:
    api = PrometheusApi(url, access, most_bytes=most)
    return api.samples("requests_total", NOW - timedelta(minutes=1), NOW, timeout=timedelta(seconds=seconds))


def answer_of(*series: Any, **more: Any) -> QueryResult:
    with serving(answering(json.dumps(document(*series, **more)).encode())) as url:
        return ask(url)


def error_of(talk: Talk, *, seconds: float = 5, most: int = 2**20, access: Access | None = None) -> str:
    with serving(talk) as url, pytest.raises(UnavailableError) as caught:
        ask(url, access, seconds=seconds, most=most)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"query {url}: ")


def test_a_matrix_is_read_with_its_labels_times_and_values() -> None:
    answer = answer_of({"metric": LABELS, "values": [[1000, "1"], [1005.5, "2e3"]]})

    (series,) = answer.series
    assert series.labels == LABELS
    assert series.times.tolist() == [1000.0, 1005.5]
    assert series.values.tolist() == [1.0, 2000.0]
    assert answer.warnings == ()


def test_samples_that_are_no_numbers_are_left_out_and_a_series_of_them_too() -> None:
    stale = {"metric": {"pod": "b"}, "values": [[1000, "NaN"]]}

    (series,) = answer_of(
        {"metric": LABELS, "values": [[1000, "NaN"], [1005, "+Inf"], [1010, "3"], [1e300, "4"], [-1, "5"]]}, stale
    ).series

    assert series.times.tolist() == [1010.0]
    assert series.values.tolist() == [3.0]


def test_samples_come_in_order_of_time_and_none_twice() -> None:
    (series,) = answer_of({"metric": LABELS, "values": [[1010, "3"], [1000, "1"], [1010, "9"], [1005, "2"]]}).series

    assert series.times.tolist() == [1000.0, 1005.0, 1010.0]
    assert series.values.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="read-only"):
        series.values[0] = 5.0


def test_native_histograms_are_kept_and_stale_ones_left_out() -> None:
    counted = {"count": "3", "sum": "1.5", "buckets": [[0, "0.5", "1", "2"], [3, "-0.1", "0.1", "1"]]}
    stale = {"count": "0", "sum": "NaN"}

    (series,) = answer_of({"metric": LABELS, "histograms": [[1010, stale], [1005, counted]]}).series

    assert series.times.tolist() == []
    assert series.histograms == ((1005.0, counted | {"buckets": [[0.0, "0.5", "1", "2"], [3.0, "-0.1", "0.1", "1"]]}),)


def test_warnings_and_infos_are_kept_in_few_words() -> None:
    warnings = ["store 10.0.0.7\x1b[31m is\naway " + "x" * 1000, 5, None, *(f"w{number}" for number in range(20))]

    answer = answer_of(warnings=warnings, infos=["metric might not be a counter"])

    assert answer.warnings[0].startswith("store 10.0.0.7 [31m is away xxx")
    assert len(answer.warnings[0]) == 200
    assert len(answer.warnings) == 11
    assert answer.warnings[-1] == "and 12 more"


def test_an_instant_query_has_one_sample_a_series() -> None:
    asked = []

    def talk(connection: socket.socket, request: bytes) -> None:
        asked.append(request.decode())
        body = document({"metric": LABELS, "value": [1000, "7"]}, kind="vector")
        answering(json.dumps(body).encode())(connection, request)

    with serving(talk) as url:
        answer = PrometheusApi(url).instant("up", NOW, timeout=timedelta(seconds=5))

    assert [(series.times.tolist(), series.values.tolist()) for series in answer.series] == [([1000.0], [7.0])]
    assert f"query=up&time={NOW.timestamp():.3f}" in asked[0]


def test_a_scalar_is_a_series_without_labels() -> None:
    body = b'{"status":"success","data":{"resultType":"scalar","result":[1000,"7"]}}'

    with serving(answering(body)) as url:
        answer = PrometheusApi(url).instant("scalar(up)", NOW, timeout=timedelta(seconds=5))

    assert [(series.labels, series.values.tolist()) for series in answer.series] == [({}, [7.0])]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"null", "the answer is missing or null, expected an object"),
        (b"[]", "the answer is a list, expected an object"),
        (b"", "the answer is no JSON: is this Prometheus, or a login page before it?"),
        (b"<html>Please log in</html>", "the answer is no JSON: is this Prometheus, or a login page before it?"),
        (b"\xff\xfe\x00", "the answer is no JSON: is this Prometheus, or a login page before it?"),
        (b"[" * 200_000, "the answer is nested too deeply"),
        (b'{"a":' * 200_000, "the answer is nested too deeply"),
        (b'{"status":"success"}', "data is missing or null, expected an object"),
        (b'{"status":"error","errorType":"bad_data","error":"parse\\nerror"}', "bad_data: parse error"),
        (b'{"status":"error","error":{"a":1}}', "the server reports an error and does not say which"),
        (b'{"data":{"resultType":"vector","result":[]}}', "data.resultType is vector, expected matrix"),
        (b'{"data":{"resultType":["x"]}}', "data.resultType is none that Prometheus has, expected matrix"),
        (b'{"data":{"resultType":"matrix"}}', "data.result is missing or null, expected a list"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_answer_is_an_error_in_one_sentence(body: bytes, message: str) -> None:
    assert error_of(answering(body)) == message


NO_NUMBER = ".values has a value that is no number written as a text"
NO_PAIR = ".values has a sample that is no pair of a time and a value"
NO_BUCKET = ".histograms has a bucket that is not [boundaries, lower edge, upper edge, count]"


def histogram(content: Any) -> dict[str, Any]:
    return {"metric": {}, "histograms": [[1, content]]}


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (None, " is missing or null, expected an object"),
        ({"values": []}, ".metric is missing or null, expected an object of texts"),
        ({"metric": {"a": 1}, "values": []}, ".metric has a label that is no text"),
        ({"metric": {"a": "\ud800"}, "values": []}, ".metric has a label that is not valid Unicode"),
        ({"metric": {}}, " has no samples"),
        ({"metric": {}, "values": None}, ".values is missing or null, expected a list"),
        ({"metric": {}, "values": [[1, "1_0"]]}, NO_NUMBER),
        ({"metric": {}, "values": [[1, "many"]]}, NO_NUMBER),
        ({"metric": {}, "values": [[1, 1]]}, NO_NUMBER),
        ({"metric": {}, "values": [[1]]}, NO_PAIR),
        ({"metric": {}, "values": [["1", "1"]]}, NO_PAIR),
        ({"metric": {}, "values": [[True, "1"]]}, NO_PAIR),
        (histogram("1"), ".histograms has a histogram that is a text, expected an object"),
        (histogram({"count": 1, "sum": "1"}), ".histograms has a histogram whose numbers are not written as texts"),
        (histogram({"count": "1", "sum": "1", "buckets": [[[], "0", "1", "1"]]}), NO_BUCKET),
    ],
)  # fmt: skip
def test_a_series_of_a_wrong_form_is_an_error_that_names_the_place(series: Any, message: str) -> None:
    assert error_of(answering(json.dumps(document(series)).encode())) == f"data.result[0]{message}"


def test_the_same_series_twice_is_an_error_as_its_requests_would_count_twice() -> None:
    series = {"metric": LABELS, "values": [[1000, "1"]]}

    message = error_of(answering(json.dumps(document(series, series)).encode()))

    assert message == "data.result[1].metric has the same labels as data.result[0]"


def test_a_time_too_large_for_a_float_is_left_out() -> None:
    body = b'{"data":{"resultType":"matrix","result":[{"metric":{},"values":[[1%s,"1"],[5,"2"]]}]}}' % (b"0" * 5000)

    with serving(answering(body)) as url:
        (series,) = ask(url).series

    assert series.times.tolist() == [5.0]


def test_an_answer_in_another_charset_of_json_is_read() -> None:
    text = json.dumps(document({"metric": {"a": "ä"}, "values": [[1, "1"]]}), ensure_ascii=False)

    for charset in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=klingon\r\n"
        with serving(answering(text.encode(charset), head)) as url:
            assert ask(url).series[0].labels == {"a": "ä"}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("204 No Content", "HTTP 204"),
        ("300 Multiple Choices", "HTTP 300"),
        ("404 Not Found", "HTTP 404"),
        ("422 Unprocessable", "HTTP 422 (execution: too many samples)"),
        ("503 Service Unavailable", "HTTP 503 (execution: too many samples)"),
    ],
)
def test_a_status_other_than_200_is_an_error_with_what_prometheus_says(status: str, message: str) -> None:
    body = b'{"status":"error","errorType":"execution","error":"too many samples"}' if "(" in message else b"<p>x</p>"

    assert error_of(answering(b"" if "204" in status else body, f"HTTP/1.1 {status}\r\n".encode())) == message


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_let_in_is_told_which_settings_give_credentials(status: int) -> None:
    with (
        serving(answering(b"no org id", b"HTTP/1.1 %d X\r\n" % status)) as url,
        pytest.raises(AccessDeniedError) as error,
    ):
        ask(url)

    for setting in ("CANARY_PROMETHEUS_CONFIG", "CANARY_PROMETHEUS_TOKEN_FILE", "CANARY_PROMETHEUS_HEADERS"):
        assert setting in str(error.value)


def trickling_body(connection: socket.socket, request: bytes) -> None:
    connection.sendall(OK + b"Content-Length: 1000\r\n\r\n")
    trickle(connection, b" ")


def trickling_headers(connection: socket.socket, request: bytes) -> None:
    connection.sendall(OK)
    trickle(connection, b"x")


def trickling_chunks(connection: socket.socket, request: bytes) -> None:
    connection.sendall(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    trickle(connection, b"1\r\n \r\n")


def waiting(connection: socket.socket, request: bytes) -> None:
    connection.recv(1)


def more_to_come(connection: socket.socket, request: bytes) -> None:
    trickle(connection, b"HTTP/1.1 100 Continue\r\n\r\n")


def trickle(connection: socket.socket, part: bytes) -> None:
    for _ in range(600):
        connection.sendall(part)
        time.sleep(0.05)


@pytest.mark.parametrize("talk", [trickling_body, trickling_headers, trickling_chunks, waiting, more_to_come])
def test_a_read_ends_at_its_limit_however_slowly_the_answer_comes(talk: Talk) -> None:
    # Each would go on for 30 s and more, or for ever.
    assert error_of(talk, seconds=0.4) == "timed out after 0.4 s"


def test_a_read_ends_at_its_limit_where_the_name_is_not_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.wait(60) and [])
    threads = threading.active_count()

    for _ in range(3):
        with pytest.raises(UnavailableError, match="timed out"):
            ask("http://prometheus.test:9090", seconds=0.1)

    assert threading.active_count() <= threads + 1
    answers.set()


def test_an_endless_answer_ends_at_the_limit_in_bytes() -> None:
    def talk(connection: socket.socket, request: bytes) -> None:
        connection.sendall(OK + b"\r\n")
        while True:
            connection.sendall(b"[" * 65536)

    assert error_of(talk, most=2**20) == "the answer is larger than 1 MiB, the limit of one read"


def test_a_small_answer_that_unpacks_to_a_huge_one_ends_at_the_limit_in_bytes() -> None:
    bomb = gzip.compress(b" " * 2**26)

    message = error_of(answering(bomb, OK + b"Content-Encoding: gzip\r\n"), most=2**20)

    assert message == "the answer is larger than 1 MiB, the limit of one read"


def test_a_packed_answer_is_read() -> None:
    body = gzip.compress(json.dumps(document({"metric": LABELS, "values": [[1, "1"]]})).encode())

    with serving(answering(body, OK + b"Content-Encoding: gzip\r\n")) as url:
        assert ask(url).series[0].labels == LABELS


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the connection was broken off"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "the connection was broken off"),
        (OK + b"Content-Length: 100\r\n\r\n{", "the connection was broken off"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "the connection was broken off"),
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "the answer is not packed as it says"),
        (OK + b"X: y\r\n" * 200 + b"\r\n", "the connection was broken off"),
        (OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n", "the connection was broken off"),
    ],
)
def test_what_is_not_http_is_an_error_in_one_sentence(raw: bytes, message: str) -> None:
    assert error_of(lambda connection, _: connection.sendall(raw)) == message


def test_a_server_that_is_not_there_is_an_error_in_one_sentence() -> None:
    with pytest.raises(UnavailableError, match=r"^query http://127\.0\.0\.1:1: Connection refused$"):
        ask("http://127.0.0.1:1")


def test_a_redirect_to_another_host_is_not_followed_and_its_query_not_shown() -> None:
    reached = []
    with serving(lambda connection, request: reached.append(request)) as elsewhere:
        head = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}/login?state=s3cret\r\n".encode()
        message = error_of(answering(b"", head))

    assert message.startswith(f"HTTP 302, redirected to {elsewhere}, and not followed to another server")
    assert "s3cret" not in message
    assert reached == []


def test_a_redirect_within_the_server_is_followed_unless_settings_forbid_it() -> None:
    def talk(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET /prometheus/"):
            answering(json.dumps(document({"metric": LABELS, "values": [[1, "1"]]})).encode())(connection, request)
        else:
            place = b"/prometheus" + request.split()[1]
            answering(b"", b"HTTP/1.1 307 X\r\nLocation: " + place + b"\r\n")(connection, request)

    with serving(talk) as url:
        assert ask(url).series[0].labels == LABELS
    assert error_of(talk, access=Access(follow_redirects=False)) == "HTTP 307, and redirects are not followed"


def test_redirects_in_a_circle_end() -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /again\r\n"

    assert error_of(answering(b"", head)) == "redirected more than 5 times"


def test_the_accesss_own_limit_holds_where_it_is_shorter() -> None:
    assert error_of(waiting, access=Access(timeout=timedelta(seconds=0.2))) == "timed out after 0.2 s"


NUMBERS = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.just(10**400),
    st.sampled_from(["NaN", "+Inf", "-Inf", "1", "1e400", "-0", "0x1", "", " 1 ", "١"]), st.none(), st.text(),
)  # fmt: skip
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters())),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
PAIRS = st.lists(st.one_of(st.tuples(NUMBERS, NUMBERS), ANYTHING), max_size=5) | ANYTHING
HISTOGRAM = st.fixed_dictionaries(
    {"count": NUMBERS, "sum": NUMBERS},
    optional={"buckets": st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS) | ANYTHING, max_size=3) | ANYTHING},
)
SERIES = st.fixed_dictionaries(
    {"metric": st.dictionaries(st.text(max_size=5), st.text(max_size=5) | ANYTHING, max_size=3) | ANYTHING},
    optional={
        "values": PAIRS, "histograms": st.lists(st.tuples(NUMBERS, HISTOGRAM | ANYTHING), max_size=3) | ANYTHING,
        "value": st.tuples(NUMBERS, NUMBERS) | ANYTHING, "histogram": st.tuples(NUMBERS, HISTOGRAM) | ANYTHING,
    },
)  # fmt: skip
DOCUMENTS = st.one_of(
    ANYTHING,
    st.fixed_dictionaries(
        {"data": st.fixed_dictionaries({
            "resultType": st.sampled_from(["matrix", "vector", "scalar"]) | ANYTHING,
            "result": st.lists(SERIES | ANYTHING, max_size=3) | st.tuples(NUMBERS, NUMBERS) | ANYTHING,
        }) | ANYTHING},
        optional={"status": st.sampled_from(["success", "error"]) | ANYTHING, "error": ANYTHING, "warnings": ANYTHING},
    ),
)  # fmt: skip


def outcome(read: Callable[[], QueryResult]) -> tuple[QueryResult, str]:
    """Return what is read, or what our error says."""
    try:
        with time_limit(timedelta(seconds=60)):
            return read(), ""
    except UnavailableError as error:
        return QueryResult(()), str(error)


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(DOCUMENTS)
def test_whatever_json_a_server_answers_is_an_answer_or_an_error_of_ours(data: Any) -> None:
    body = json.dumps(data).encode()

    for read in (matrix, vector):
        answer, sentence = outcome(lambda read=read: read(decode(body, str)))
        assert len(sentence) < 300
        assert "\n" not in sentence
        for series in answer.series:
            assert len(series.times) == len(series.values)
            assert all(earlier < later for earlier, later in zip(series.times, series.times[1:], strict=False))
            assert all(abs(value) < float("inf") for value in series.values)
            assert all(isinstance(text, str) for pair in series.labels.items() for text in pair)
        assert len(answer.warnings) <= 11


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(st.binary(max_size=400), st.integers(0, 400))
def test_whatever_bytes_a_server_sends_are_an_answer_or_an_error_of_ours(noise: bytes, place: int) -> None:
    body = json.dumps(document({"metric": LABELS, "values": [[1000, "1"]]})).encode()
    whole = OK + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body
    damaged = whole[:place] + noise + whole[place + len(noise) :]

    with serving(lambda connection, _: connection.sendall(damaged)) as url:
        _, sentence = outcome(lambda: ask(url))

    assert "\n" not in sentence
