"""The product's folders and modules, as they stand on disk."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_PRODUCT = ("tests", "docs", "manifests")


def top_folders() -> list[str]:
    """Return all folders at the top that hold code of ours."""
    folders = (path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    return sorted(path.name for path in folders if path.name not in NOT_PRODUCT and any(path.glob("*.py")))


def folders() -> list[Path]:
    """Return all folders of the product that hold code, relative to the root."""
    paths = (path.relative_to(ROOT) for name in top_folders() for path in (ROOT / name).rglob("*.py"))
    return sorted({path.parent for path in paths})


def modules() -> list[Path]:
    """Return all modules of the product but `__init__.py`, relative to the root."""
    paths = (path.relative_to(ROOT) for name in top_folders() for path in (ROOT / name).rglob("*.py"))
    return sorted(path for path in paths if path.name != "__init__.py")
