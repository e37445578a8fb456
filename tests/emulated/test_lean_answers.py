"""Whole sets of tests again, on a server whose answers leave out what is empty, or give it as null."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tests.emulated.test_preflight as preflight
import tests.emulated.test_rollouts_on_a_cluster as rollouts
import tests.emulated.test_steering_a_cluster as steering
from backends.cluster.environment import World
from tests.emulated.lean import Lean
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import role_rules, service_at_rest
from tests.emulated.test_preflight import samples as samples
from tests.emulated.test_rollouts_on_a_cluster import rollout as rollout
from tests.emulated.test_steering_a_cluster import gateway_api as gateway_api


@pytest.fixture(params=[Lean.LEFT_OUT, Lean.NULL])
def server(request: pytest.FixtureRequest) -> Iterator[EmulatedCluster]:
    with EmulatedCluster(role_rules()) as running:
        running.lean = request.param
        running.put(*service_at_rest())
        yield running


def test_a_cluster_without_any_rollout_on_record_has_none(cluster: World) -> None:
    assert (cluster.rollouts(), cluster.services()) == ((), ())


test_fit = preflight.test_a_cluster_with_all_that_is_shipped_is_fit_and_nothing_is_written
test_subset = preflight.test_a_subset_that_selects_another_version_is_named
test_sidecar = preflight.test_pods_without_a_sidecar_are_named
test_other_rollout = preflight.test_another_rollout_is_named
test_quota = preflight.test_a_quota_without_room_for_the_canary_is_a_miss
test_promoted = rollouts.test_a_healthy_canary_is_promoted_with_the_shipped_role_alone
test_restored = rollouts.test_until_retention_ends_a_restore_after_a_promotion_goes_back_to_the_old_version
test_mirrored = rollouts.test_a_plan_with_a_mirror_leaves_the_route_as_it_found_it
test_worse = rollouts.test_a_worse_canary_is_rolled_back_and_its_pods_are_gone
test_crashes = rollouts.test_a_crash_loop_is_rolled_back
test_no_image = rollouts.test_an_image_that_cannot_be_pulled_is_rolled_back_in_seconds_and_without_any_traffic
test_out_of_memory = rollouts.test_a_pod_that_is_killed_for_its_memory_is_rolled_back_at_the_first_time
test_emergency = rollouts.test_an_emergency_rollback_by_kubectl_ends_the_rollout_as_rolled_back
test_taken_over = rollouts.test_a_rollout_whose_lock_was_taken_over_touches_nothing_more
test_forgotten = rollouts.test_a_rollout_that_is_forgotten_leaves_nothing_behind
test_lost_lock = steering.test_an_owner_who_lost_the_lock_cannot_write_any_more
test_later_epoch = steering.test_after_an_emergency_rollback_the_next_owner_begins_a_later_epoch
test_half_taken = steering.test_an_owner_whose_process_died_between_lease_and_epoch_can_go_on
test_kubectl = steering.test_kubectl_alone_can_say_abort_and_the_next_rollout_does_not_hear_it
test_copied = steering.test_a_canary_without_a_deployment_gets_stables_with_its_own_image
test_autoscaled = steering.test_an_autoscaler_keeps_the_replicas_and_gets_another_minimum
test_adopted = steering.test_a_promotion_is_adopted_with_all_traffic_on_the_new_version_throughout
test_http_promotion = steering.test_with_an_http_route_a_promotion_moves_stables_service
