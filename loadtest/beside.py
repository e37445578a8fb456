"""Opens the books beside a person's own locustfile."""

from __future__ import annotations

import os
from pathlib import Path

from locust import events

from loadtest.books import Books
from loadtest.order import ORDER_VARIABLE, LoadOrder

Books(LoadOrder.model_validate_json(Path(os.environ[ORDER_VARIABLE]).read_bytes())).listen(events)
