"""One thread for each process: the tests share the cores, and so do the trainings that they start."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
