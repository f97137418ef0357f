"""One thread for each process, as the tests share the cores; and how many examples the property-based tests try."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

slow = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
settings.register_profile("few", max_examples=25, derandomize=True, deadline=None, suppress_health_check=slow)
settings.register_profile("long", max_examples=10_000, deadline=None, suppress_health_check=slow, database=None)
settings.load_profile("few")
