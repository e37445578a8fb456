"""The last accepted run of each load test, on disk: what the next one is compared with."""

from __future__ import annotations

from pathlib import Path

from rollout.errors import PlanError, SetupError
from rollout.load_test_result import ValidationResult, dump_result, parse_result


class Accepted:
    """A folder with the last accepted result of each settings.

    Parameters
    ----------
    folder
        Made when the first result is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last(self, settings: str) -> ValidationResult | None:
        """Return the last accepted run of these settings, or None; a file that cannot be read is none."""
        try:
            return parse_result(self._file(settings).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, PlanError):
            return None

    def keep(self, result: ValidationResult) -> None:
        """Make this run the one that the next is compared with."""
        path = self._file(result.settings)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".new").write_text(dump_result(result), encoding="utf-8")
            path.with_suffix(".new").replace(path)
        except OSError as error:
            raise SetupError(f"keep the accepted run in {self._folder}: {error.strerror}") from error

    def _file(self, settings: str) -> Path:
        return self._folder / f"{settings}.json"
