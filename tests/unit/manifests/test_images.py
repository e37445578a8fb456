"""What the Dockerfiles promise the manifests; building them needs a registry, and is not done here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.load_spec import LoadSpec
from tests.unit.manifests.kustomized import MANIFESTS, ROOT, built, containers, values_of, workloads

SAMPLE, PIPELINE = ROOT / "sample" / "Dockerfile", ROOT / "Dockerfile"


@pytest.mark.parametrize("file", [SAMPLE, PIPELINE], ids=lambda file: file.parent.name)
def test_an_image_runs_as_the_user_that_the_manifests_say(file: Path) -> None:
    [user] = _arguments(file, "USER")

    assert set(values_of(built(MANIFESTS), "runAsUser")) == {int(user.split(":")[0])}


@pytest.mark.parametrize("file", [SAMPLE, PIPELINE], ids=lambda file: file.parent.name)
def test_an_image_stands_on_a_plain_name_with_a_version(file: Path) -> None:
    assert all(re.match(r"python:3\.\d+-slim( AS build)?$", base) for base in _arguments(file, "FROM"))


@pytest.mark.parametrize("file", [SAMPLE, PIPELINE], ids=lambda file: file.parent.name)
def test_what_an_image_copies_is_there_and_not_ignored(file: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [name for line in _arguments(file, "COPY") if "--from" not in line for name in line.split()[:-1]]

    assert copied
    assert all((ROOT / name).exists() and f"!{name}" in ignored for name in copied)


def test_the_pipelines_image_holds_every_package_that_is_installed() -> None:
    packages = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text())
    assert packages

    copied = " ".join(_arguments(PIPELINE, "COPY")).split()
    assert set(re.findall(r'"(\w+)"', packages[1])) <= set(copied)


def test_the_sample_needs_nothing_but_what_its_image_installs() -> None:
    source = SAMPLE.read_text()
    installed = re.search(r"--constraint \S+ \\\n\s+(.+?) &&", source)
    assert installed
    known = {"pydantic_core", "typing_extensions", "annotated_types", "typing_inspection", "click", "h11", "yaml"}
    allowed = known | set(installed[1].split()) | {"sample", "rollout"}
    script = (
        "import sys; import sample.__main__, uvloop, httptools\n"
        "print({name.split('.')[0] for name, module in sys.modules.items()"
        " if 'site-packages' in (getattr(module, '__file__', None) or '')})"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"'(\w+)'", done.stdout)) - allowed == set()


def test_the_locustfile_is_where_the_workers_look_for_it() -> None:
    named = [word for one in workloads(built(MANIFESTS)) for box in containers(one) for word in box.get("command", [])]
    files = [Path(word) for word in named if word.endswith(".py")]

    assert files
    assert all((ROOT / file.relative_to("/app")).is_file() for file in files)
    assert "WORKDIR /app" in PIPELINE.read_text()


def test_the_workers_understand_the_order_that_the_manifests_hold() -> None:
    order = next(one for one in built(MANIFESTS) if one["metadata"]["name"] == "locust-order")

    assert LoadSpec.model_validate_json(order["data"]["order.json"]).processes == 2


def _arguments(file: Path, instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} (.+)$", file.read_text(), flags=re.MULTILINE)
