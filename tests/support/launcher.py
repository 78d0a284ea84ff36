"""launch.py with a script of ours in the place of the trainer."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from llava_contract.run import ConvertTask, JobKind, JobRef, ModelParts, RunConfig, Stage, StorageTarget
from llava_contract.v1alpha1.conversion import ExportDtype
from llava_contract.v1alpha1.training import TuningMode, TuningSpec
from support.training_job import Running, start

_TESTS = str(Path(__file__).parents[1])  # so that a script may import `support`
_COMMAND = f"""
import os, sys
os.environ["PYTHONPATH"] = os.pathsep.join([{_TESTS!r}, os.environ.get("PYTHONPATH", "")])
from llava_trainer import launch
sys.exit(launch.main(sys.argv[1:], rank_command=[{{!r}}]))
"""


def start_script(script: ModuleType, config: RunConfig, folder: Path) -> Running:
    """Launch `script` on every rank that `config` asks for."""
    return start(config, folder, command=("-c", _COMMAND.format(script.__file__)))


def run_config(num_ranks: int) -> RunConfig:
    """A run file whose task does not matter."""
    parts = ModelParts(llm="a", vision_tower="b", prompt_template="vicuna", projector_depth=2, vision_feature_layer=-2)
    frozen = TuningSpec(mode=TuningMode.FROZEN)
    task = ConvertTask(
        model=parts,
        checkpoints=[],
        llm=frozen,
        vision_tower=frozen,
        formats=[],
        dtype=ExportDtype.BF16,
        pad_to_square=True,
    )
    return RunConfig(
        job=JobRef(kind=JobKind.TRAIN, namespace="default", name="tiny", uid="uid-1"),
        stage=Stage.CONVERT,
        attempt=1,
        num_ranks=num_ranks,
        storage=StorageTarget(uri="/nowhere"),
        hang_timeout_seconds=60,
        task=task,
    )
