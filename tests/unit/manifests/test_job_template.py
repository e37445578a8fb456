"""The work pool of Kubernetes' Jobs: what a run's pod is made of, beside the worker's pod that does the same work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from prefect.server.schemas.actions import WorkPoolCreate
from prefect.utilities.templating import apply_values

from tests.unit.manifests.kustomized import (
    MANIFESTS,
    ROOT,
    Document,
    built,
    containers,
    named,
    pod_labels,
    variables,
)

TEMPLATE = json.loads((MANIFESTS / "pipeline" / "canary-jobs.json").read_text())
DEPLOYMENTS = [
    one
    for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    if one["work_pool"]["name"] == "canary-jobs"
]
WORKER = named(built(MANIFESTS), "Deployment", "prefect-worker")


def rendered() -> Document:
    """Return the Job that a worker makes for a run, but for what Prefect adds of its own."""
    properties = TEMPLATE["variables"]["properties"]
    usual = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
    job: Document = apply_values(TEMPLATE["job_configuration"]["job_manifest"], usual | {"name": "a-run"})
    return job


JOB = rendered()
POD = JOB["spec"]["template"]["spec"]
[RUN] = containers(JOB)


def test_prefect_takes_the_template_and_whatever_a_deployment_puts_into_it() -> None:
    pool = WorkPoolCreate(name="canary-jobs", type="kubernetes", base_job_template=TEMPLATE)

    assert pool.base_job_template == TEMPLATE
    assert len(DEPLOYMENTS) == 6
    for deployment in DEPLOYMENTS:
        assert set(deployment["work_pool"]["job_variables"]) <= set(TEMPLATE["variables"]["properties"])


def test_a_run_may_do_what_the_workers_pod_may_and_no_more() -> None:
    worker = WORKER["spec"]["template"]["spec"]

    for field in ("serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "securityContext"):
        assert POD[field] == worker[field], field
    assert RUN["securityContext"] == containers(WORKER)[0]["securityContext"]
    assert JOB["metadata"]["namespace"] == TEMPLATE["job_configuration"]["namespace"] == WORKER["metadata"]["namespace"]


def test_a_run_that_is_ended_has_the_time_to_put_all_traffic_on_stable_and_is_not_begun_again() -> None:
    told = TEMPLATE["job_configuration"]["env"]

    assert POD["terminationGracePeriodSeconds"] == WORKER["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert JOB["spec"]["backoffLimit"] == 0
    # prefect-kubernetes says "reschedule" unless told: a rollout that was taken home would be begun again by itself.
    # With a word that Prefect does not know the pod's first process would not hear the signal at all.
    assert told["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "relinquish"


def test_the_network_policies_take_a_run_for_the_worker() -> None:
    assert pod_labels(JOB) == pod_labels(WORKER)


def test_a_run_is_told_what_the_worker_is_told() -> None:
    worker = containers(WORKER)[0]
    told = TEMPLATE["job_configuration"]["env"] | variables(RUN)
    needed = {name for name in variables(worker) if not name.startswith("PREFECT_WORKER_")}

    assert needed <= set(told)
    assert told["PREFECT_API_URL"] == variables(worker)["PREFECT_API_URL"]
    assert RUN["env"] == [one for one in worker["env"] if "valueFrom" in one]
    assert RUN["envFrom"] == worker["envFrom"]
    assert RUN["image"] == worker["image"]


def test_a_run_has_its_resources_and_folders_that_can_be_written() -> None:
    folders = [mount["mountPath"] for mount in RUN["volumeMounts"]]

    assert RUN["resources"] == {"requests": {"cpu": "50m", "memory": "200Mi"}, "limits": {"memory": "512Mi"}}
    for name in ("PREFECT_HOME", "CANARY_STATE"):
        folder = Path(TEMPLATE["job_configuration"]["env"][name])
        assert any(folder.is_relative_to(mounted) for mounted in folders), name


def test_a_run_is_a_job_that_prefect_and_kubernetes_know() -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    # prefect-kubernetes insists on both where Kubernetes does not know them, which drops them.
    known = {name: value for name, value in POD.items() if name not in ("parallelism", "completions")}
    spec = JOB["spec"] | {"template": JOB["spec"]["template"] | {"spec": known}}

    validate(JOB | {"spec": spec}, "1.29", strict=True)
    assert (POD["parallelism"], POD["completions"], POD["restartPolicy"], RUN["name"]) == (1, 1, "Never", "prefect-job")
