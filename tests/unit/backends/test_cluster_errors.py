"""What the cluster's client raises where nothing answers: the same words for the same cause."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
import urllib3
from urllib3.exceptions import HTTPError, ProtocolError

from backends.cluster.api.api_errors import ApiRequest, describe_connection_error, translate_error
from rollout.errors import UnavailableError

ASKED = ApiRequest("list", "pods", "in shop", "Kubernetes")


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def raised(url: str, *, limit: float, retries: int | bool) -> HTTPError:
    with pytest.raises(HTTPError) as caught:
        urllib3.PoolManager(retries=urllib3.Retry(retries) if retries else False).request("GET", url, timeout=limit)
    return caught.value


@pytest.mark.parametrize("retries", [False, 1])
def test_a_server_that_hangs_is_told_in_the_same_words_whatever_limit_the_last_attempt_had(
    silent: str, retries: int
) -> None:
    texts = {str(translate_error(raised(silent, limit=limit, retries=retries), ASKED)) for limit in (0.05, 0.08)}

    assert texts == {"list pods in shop: no answer: not in time"}


@pytest.mark.parametrize("retries", [False, 1])
def test_a_refused_connection_is_told_without_the_connections_own_words(retries: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    loss = describe_connection_error(raised(f"http://127.0.0.1:{port}/", limit=5, retries=retries))

    assert loss == "not connected: [Errno 111] Connection refused"


def test_an_error_that_quotes_an_object_tells_its_kind_alone() -> None:
    error = HTTPError(f"{object()}: gone")

    assert not re.search("0x[0-9a-f]+", str(translate_error(error, ASKED)))


def test_a_connection_that_was_cut_is_told() -> None:
    error = ProtocolError("Connection aborted.", ConnectionResetError(104, "Connection reset by peer"))

    assert describe_connection_error(error) == "the connection was lost"
    assert isinstance(translate_error(error, ASKED), UnavailableError)
