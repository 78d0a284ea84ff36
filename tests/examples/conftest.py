"""Puts the example's folder on the path, as running its scripts does."""

import sys

from support.tree import ROOT

sys.path.insert(0, str(ROOT / "examples" / "tiny"))
