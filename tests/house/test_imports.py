"""A person who waits never waits for torch: what each entry point imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "deepspeed",
    "pandas",
    "numpy",
    "pyarrow",
    "matplotlib",
    "kubernetes",
    "kopf",
)


def heavy_modules_after(statement: str) -> list[str]:
    script = f"import sys\n{statement}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return ast_list(done.stdout.splitlines()[-1])


def ast_list(line: str) -> list[str]:
    import ast

    return list(ast.literal_eval(line))


@pytest.mark.parametrize(
    "statement",
    [
        "import llava_cli.main",
        "import llava_cli.run_command",
        "import llava_cli.validate_command",
        "import llava_cli.recipe_command",
        "import llava_cli.score_command",
        "import llava_cli.audit_command",
        "import llava_cli.preview_command",
        "import llava_operator.reconcile",
        "import llava_operator.__main__",
        "import llava_trainer.launch",
        "import llava_contract.crd",
    ],
)
def test_imports_nothing_heavy(statement: str) -> None:
    assert heavy_modules_after(statement) == []
