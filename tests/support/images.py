"""Images that a cluster can pull, by settings; the defaults are those that .ci/with-cluster knows."""

from __future__ import annotations

import os

TRAINER = os.environ.get("LLAVA_TEST_TRAINER_IMAGE", "llava-trainer:dev")
SCRIPTED = os.environ.get("LLAVA_TEST_SCRIPTED_IMAGE", "llava-scripted:dev")
OPERATOR = os.environ.get("LLAVA_TEST_OPERATOR_IMAGE", "llava-operator:dev")
MISSING = os.environ.get("LLAVA_TEST_MISSING_IMAGE", "registry.test/missing:1")
"""One that nobody can pull."""
