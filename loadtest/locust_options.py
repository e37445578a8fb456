"""How a user's own locustfile is run: what would stand on Locust's command line."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from loadtest.shapes import ProfileSection

_OptionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]{0,99}$")]
_ClassName = Annotated[str, Field(pattern=r"^[^\W\d]\w{0,99}$")]
_Value = Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")]
RESERVED = frozenset(
    """
    autoquit autostart config config-users csv exclude-tags exit-code-on-error expect-workers headful headless
    help host html json json-file list locustfile logfile loglevel master master-bind-host master-bind-port
    master-host master-port only-summary otel processes profile run-time show-task-ratio skip-log-setup
    spawn-rate stop-timeout tags users version web-host web-port worker
    """.split()  # noqa: SIM905 - a list would take a page
)
"""Options of Locust that the profile or the load's own runner decides."""


class LocustOptions(ProfileSection):
    """How the locustfile is run."""

    tags: tuple[_OptionName, ...] = Field(default=(), description="Only tasks with one of these tags run.")
    exclude_tags: tuple[_OptionName, ...] = Field(default=(), description="Tasks with one of these tags do not run.")
    user_classes: tuple[_ClassName, ...] = Field(
        default=(), description="Only these user classes run; default: all, by their weights."
    )
    arguments: dict[_OptionName, _Value] = Field(
        default={}, description="The locustfile's own options, as they would follow `--` on Locust's command line."
    )
    workdir: str | None = Field(
        default=None, description="Where it runs, from the profile's folder; default: the folder where it lies."
    )

    @model_validator(mode="after")
    def _no_reserved_options(self) -> Self:
        if taken := sorted(RESERVED & self.arguments.keys()):
            raise ValueError(
                f"arguments: got {taken[0]!r}, allowed: options of the locustfile's own; "
                "url, users, processes, duration and tags have keys in the profile"
            )
        return self

    @property
    def options(self) -> tuple[str, ...]:
        """Return Locust's command line."""
        tags = ("--tags", *self.tags) if self.tags else ()
        excluded = ("--exclude-tags", *self.exclude_tags) if self.exclude_tags else ()
        return (*(f"--{name}={value}" for name, value in self.arguments.items()), *tags, *excluded)
