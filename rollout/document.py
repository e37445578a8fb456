"""A person's YAML as plain data: read in bounded time, and refused in few words."""

from __future__ import annotations

from typing import Any, Final

import yaml

from rollout.errors import PlanError
from rollout.input_errors import shown

MOST_CHARACTERS: Final = 200_000
MOST_VALUES: Final = 20_000
"""Values that a text may hold once its aliases are written out: a few hundred bytes can mean thousands of millions."""
MOST_LEVELS: Final = 40


def read_mapping(text: str, *, source: str, keys: str) -> dict[str, Any]:
    """Return the mapping that YAML text holds.

    Parameters
    ----------
    text
        YAML.
    source
        What to call it in an error, usually the file's name.
    keys
        What its keys should be, for the error where it is no mapping.

    Raises
    ------
    PlanError
        When it is no YAML, no mapping, or larger or deeper than any plan.
    """
    if len(text) > MOST_CHARACTERS:
        raise PlanError(f"{source}: {len(text):,} characters, allowed: {MOST_CHARACTERS:,}")
    try:
        data = _read(text, source)
    except yaml.YAMLError as error:
        raise PlanError(f"{source}: not YAML: {_brief(error)}") from error
    except RecursionError:
        raise PlanError(f"{source}: nested too deep, allowed: {MOST_LEVELS} levels") from None
    except (ValueError, ArithmeticError, AttributeError, LookupError, TypeError) as error:  # such as month 13
        raise PlanError(f"{source}: a value cannot be read: {_brief(error)}") from error
    if not isinstance(data, dict):
        raise PlanError(f"{source}: got {shown(data)}, allowed: a mapping with {keys}")
    return {key if isinstance(key, str) else shown(key): value for key, value in data.items()}


def _read(text: str, source: str) -> object:
    loader = yaml.SafeLoader(text)
    node = loader.get_single_node()
    if node is None:
        return None
    _check_size(node, source)
    return loader.construct_document(node)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def _check_size(node: yaml.Node, source: str) -> None:
    sizes = dict[int, tuple[int, int]]()

    def measure(node: yaml.Node, above: frozenset[int]) -> tuple[int, int]:
        """Return how many values there are, and how many levels; an alias counts as what it stands for."""
        if id(node) in above:
            raise PlanError(f"{source}: an alias stands for what holds it, allowed: none that does")
        if id(node) not in sizes:
            parts = [measure(part, above | {id(node)}) for part in _parts(node)]
            sizes[id(node)] = 1 + sum(count for count, _ in parts), 1 + max((levels for _, levels in parts), default=0)
        return sizes[id(node)]

    count, levels = measure(node, frozenset())
    if levels > MOST_LEVELS:
        raise PlanError(f"{source}: {levels} levels deep, allowed: {MOST_LEVELS}")
    if count > MOST_VALUES:
        raise PlanError(f"{source}: more than {MOST_VALUES:,} values once its aliases are written out")


def _parts(node: yaml.Node) -> list[yaml.Node]:
    match node:
        case yaml.SequenceNode(value=parts):
            return list(parts)
        case yaml.MappingNode(value=pairs):
            return [part for pair in pairs for part in pair]
        case _:
            return []
