"""What the environment may say, each field with its unit."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of the command line, from variables named `CANARY_...`."""

    model_config = SettingsConfigDict(env_prefix="CANARY_")

    state: Path = Field(default=Path(".canary"), description="Folder of the embedded backend and its records.")
    prefect_start_seconds: float = Field(default=90.0, gt=0, description="How long Prefect's server may take to start.")
