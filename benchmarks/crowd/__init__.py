"""Thousands of devices in a process, and what is measured of their deployment."""

import sys
from pathlib import Path

# A device's side of updates, which tests have too.
sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))
