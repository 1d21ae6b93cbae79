"""What memagent is measured by: each module is run as `python -m benchmarks.NAME` from the top folder."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as train.py has it, before torch is loaded
