"""The command line: finds the command that is typed, loads it alone, and tells how it ended."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import getdoc
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from cli.command_table import COMMANDS
from cli.usage_errors import describe_usage_error
from rollout.errors import Interrupted, LockedError, PlanError, RolloutError

_LOST_OUTPUT: Final = (errno.ENOSPC, errno.EPIPE, errno.EIO)
"""What writing to a full disk, a pipe that nobody reads, or a terminal that is gone says."""


class LazyCommands(TyperGroup):
    """The commands of the table: each is known by its name and purpose until it is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, command in COMMANDS.items():
            self.add_command(TyperCommand(name, help=command.purpose))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that is called, loaded."""
        name, _, arguments = super().resolve_command(ctx, args)
        assert name is not None
        return name, load_command(name), arguments


def load_command(name: str) -> Any:
    """Return a command of the table with its options."""
    from wiring.terminal import log_to_terminal

    log_to_terminal()
    function = command_function(name)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name=name, help=getdoc(function) or COMMANDS[name].purpose)(function)
    return typer.main.get_command(single)


def command_function(name: str) -> Callable[..., None]:
    """Return what carries a command of the table out."""
    module = import_module(f"cli.commands.{COMMANDS[name].module}")
    function: Callable[..., None] = getattr(module, name.replace("-", "_"))
    return function


app = typer.Typer(name="canary", cls=LazyCommands, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        print(f"canary {version('canary-pipeline')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _canary(
    wants_version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Canary releases judged at every scrape."""


def run() -> None:
    """Carry out what was typed, and end the process: an error of ours is a line or two, never a traceback."""
    try:
        code = app(prog_name="canary", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code)
    except TyperException as error:
        _fail(describe_usage_error(error), code=2)
    except typer.Abort:
        sys.exit(130)
    except (PlanError, LockedError) as error:
        _fail(error, code=2)
    except RolloutError as error:
        _fail(error, code=1)
    except OSError as error:
        if error.filename is not None or error.errno not in _LOST_OUTPUT:
            raise
        _lose_output()
        _fail(f"standard output: cannot be written: {error.strerror}", code=1)
    except Interrupted as interruption:
        _fail("interrupted", code=interruption.exit_code)


def _lose_output() -> None:
    """Let what is still to be written go nowhere: Python would try once more on its way out, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: RolloutError | str, *, code: int) -> None:
    from wiring.terminal import complain

    if text := str(error):
        complain(f"canary: {text}")
    sys.exit(code)
