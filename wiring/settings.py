"""What the environment may say, each field with its unit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from backends.prometheus.address import Address


def _listed(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
"""Names of a server, separated by commas or white space."""


class TargetDefaults(BaseSettings):
    """Fields of the target of the same name, where neither command line nor form says anything; empty: the target's."""

    namespace: str = Field(default="", description="Namespace of the service, unless the command line says.")
    prometheus: Annotated[Address, NoDecode] = Field(
        default=Address(""), description="Where Prometheus answers, unless the command line says."
    )
    kind: Literal["", "VirtualService", "HTTPRoute"] = Field(
        default="", description="What holds the split, unless the command line says."
    )
    gateway: str = Field(default="", description="Where users send their requests, for load that names no URL itself.")


class Settings(TargetDefaults):
    """Settings of the command line, from variables named `CANARY_...`."""

    model_config = SettingsConfigDict(env_prefix="CANARY_", hide_input_in_errors=True)

    state: Path = Field(default=Path(".canary"), description="Folder of the embedded backend and its records.")
    backend: Literal["", "local", "cluster"] = Field(default="", description="Where, unless the command line says.")
    prometheus_config: Path | None = Field(
        default=None, description="How one gets in to it: a YAML file in the words of its http_config."
    )
    prometheus_token_file: Path | None = Field(default=None, description="The file of a bearer token for it.")
    prometheus_headers: SecretStr = Field(
        default=SecretStr(""), description="Headers for it, such as X-Scope-OrgID=team-a,Name=value."
    )
    plan: Path = Field(default=Path("rollout.yaml"), description="The plan that deployments start with.")
    loadtest: Path = Field(default=Path("loadtest.yaml"), description="The load test that deployments start with.")
    prefect_start_seconds: float = Field(default=90.0, gt=0, description="How long Prefect's server may take to start.")
    prefect_database: Literal["", "sqlite"] = Field(
        default="", description="Where Prefect's own server keeps its runs: Postgres where it is found, unless said."
    )
    prefect_hosts: Hosts = Field(
        default=(), description="Names under which Prefect's server is reached beside those of the loopback: a, b."
    )
    allow_commands: bool = Field(
        default=False, description="Whether a hook may run any command, also one that a form or an API holds alone."
    )
    end_with_parent: bool = Field(
        default=False, description="Whether a rollout on the embedded backend ends, by way of stable, with its parent."
    )
    webhook_token: SecretStr = Field(
        default=SecretStr(""), description="What senders to `canary webhook` have to know."
    )
    webhook_hosts: Hosts = Field(
        default=(), description="Names under which `canary webhook` is reached beside those of the loopback: a, b."
    )
    notify: SecretStr = Field(
        default=SecretStr(""), description="Who is told of rollouts: addresses of apprise, separated by white space."
    )
    report_url: str = Field(
        default="", description="Where reports are found, for notices; {service} and {rollout} are put in."
    )
    grafana: str = Field(default="", description="Where Grafana answers, for links to its dashboard.")
    kiali: str = Field(default="", description="Where Kiali answers, for links to its graph.")

    def target_defaults(self) -> dict[str, object]:
        """Return the fields of a target that the environment names."""
        fields = {name: getattr(self, name) for name in TargetDefaults.model_fields}
        return {name: value for name, value in fields.items() if value}
