"""A service at rest on an emulated cluster, reached with the shipped Role's rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.cluster.api.client import Api, connect
from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.environment import World, attach
from tests.emulated.server import ADMIN, EmulatedCluster
from tests.emulated.shipped import NAMESPACE, role_rules, service_at_rest


@pytest.fixture
def server() -> Iterator[EmulatedCluster]:
    with EmulatedCluster(role_rules()) as running:
        running.put(*service_at_rest())
        yield running


@pytest.fixture
def cluster(server: EmulatedCluster, tmp_path: Path) -> World:
    return attach(ClusterSettings(kubeconfig=server.kubeconfig(tmp_path), scrape_seconds=2.0))


@pytest.fixture
def admin(server: EmulatedCluster, cluster: World, tmp_path: Path) -> Api:
    """Somebody else, who may do everything."""
    return Api(connect(server.kubeconfig(tmp_path, ADMIN)), NAMESPACE, cluster.api.deadline)
