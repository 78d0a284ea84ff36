"""How the contract becomes the reference pages: both resources field by field, conditions, failures and recipes.

`python -m llava_contract.reference DIR` writes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from llava_contract import families, modes, recipes
from llava_contract.causes import CAUSES, Cause, Retry
from llava_contract.conditions import REASONS, TYPES
from llava_contract.crd import GROUP, RESOURCES, VERSION, Resource, schema_of
from llava_contract.published import PUBLISHED, Recipe
from llava_contract.recipe_text import tuning_words

__all__ = ["pages", "write"]

_NOTE: Final = "<!-- Generated from the contract by `make generate`; edit crds/llava_contract instead. -->\n\n"

_RETRIES: Final = {
    Retry.NEVER: "none",
    Retry.COUNTED: "restart, counted against maxRestarts",
    Retry.FREE: "restart, not counted",
    Retry.CONFIRM: "one restart to rule out chance",
    Retry.ROLLBACK: "restart one checkpoint earlier, at most twice",
}

_SIZES: Final = {"minItems": "at least {} items", "maxItems": "at most {} items", "maxLength": "≤ {} characters"}


def pages() -> dict[str, str]:
    """File name to Markdown of every reference page."""
    resources = {f"{resource.kind.lower()}.md": _NOTE + _resource_page(resource) for resource in RESOURCES}
    return {
        **resources,
        "conditions.md": _NOTE + _conditions_page(),
        "failures.md": _NOTE + _failures_page(),
        "models.md": _NOTE + families.page(),
        "modes.md": _NOTE + modes.page(),
        "recipes.md": _NOTE + _recipes_page(),
    }


def write(folder: Path) -> None:
    """Write every page into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _resource_page(resource: Resource) -> str:
    """The API reference of one kind."""
    schema = schema_of(resource.model)
    parts = [f"# {resource.kind}\n\n{schema['description']}\n\n"]
    parts.append(f"`apiVersion: {GROUP}/{VERSION}`, `kind: {resource.kind}`, short name `{resource.short_name}`.\n")
    for part in ("spec", "status"):
        node = schema["properties"][part]
        parts.append(f"\n## {part}\n\n{node['description']}\n\n")
        parts.append(_table(("field", "type", "default", "bounds", "description"), _field_rows(node, part)))
    parts.append("\n## Rules across fields\n\nA resource that breaks one of them is refused with its message.\n\n")
    parts.append(_table(("where", "message"), _rule_rows(schema, "")))
    return "".join(parts)


def _field_rows(node: dict[str, Any], path: str) -> Iterator[tuple[str, ...]]:
    required = node.get("required", ())
    for name, inner in node.get("properties", {}).items():
        has_fixed_default = "default" in inner and inner["type"] != "object"
        default = f"`{json.dumps(inner['default'])}`" if has_fixed_default else ""
        where = f"{path}.{name}"
        yield (
            f"`{where}`",
            _type_words(inner),
            "required" if name in required else default,
            _bounds(inner),
            inner.get("description", ""),
        )
        yield from _field_rows(inner, where)
        yield from _field_rows(inner.get("items", {}), f"{where}[]")


def _type_words(node: dict[str, Any]) -> str:
    if node["type"] == "array":
        return f"list of {node['items']['type']}s"
    if isinstance(node.get("additionalProperties"), dict):
        return f"map of {node['additionalProperties']['type']}s"
    return "time" if node.get("format") == "date-time" else str(node["type"])


def _bounds(node: dict[str, Any]) -> str:
    """Enums, bounds and patterns in words."""
    choices = node.get("enum") or node.get("items", {}).get("enum")
    words = [" ".join(f"`{choice}`" for choice in choices)] if choices else []
    signs = {"minimum": ("exclusiveMinimum", ">", "≥"), "maximum": ("exclusiveMaximum", "<", "≤")}
    for bound, (flag, open_sign, closed_sign) in signs.items():
        if bound in node:
            words.append(f"{open_sign if node.get(flag) else closed_sign} {node[bound]:,}")
    words += [unit.format(node[key]) for key, unit in _SIZES.items() if key in node]
    return ", ".join(words)


def _rule_rows(node: dict[str, Any], path: str) -> Iterator[tuple[str, ...]]:
    for rule in node.get("x-kubernetes-validations", ()):
        where = path + rule.get("fieldPath", "")
        yield (f"`{where.lstrip('.')}`" if where else "`metadata.name`", rule["message"])
    for name, inner in node.get("properties", {}).items():
        yield from _rule_rows(inner, f"{path}.{name}")
        yield from _rule_rows(inner.get("items", {}), f"{path}.{name}[]")


def _conditions_page() -> str:
    """Every condition and every reason of ours."""
    text = (
        "# Conditions\n\nWhat `status.conditions` holds, for programs and for `kubectl wait --for=condition=Ready`. "
        "Each has the shape of every Kubernetes condition; observedGeneration is the generation of the spec that it "
        "speaks of, and lastTransitionTime moves only when the status does.\n\n"
    )
    text += _table(("type", "is there", "says"), ((f"`{type_}`", when, says) for type_, (when, says) in TYPES.items()))
    text += (
        "\n## Reasons\n\nBeside these, a reason is a cause from the [catalogue of failures](failures.md) "
        "(`Infrastructure`, `BadData`), or the cluster's own word for what pods wait for (`Unschedulable`, "
        "`ImagePullBackOff`, `FailedCreate`).\n\n"
    )
    return text + _table(("reason", "meaning"), ((f"`{reason}`", meaning) for reason, meaning in REASONS.items()))


def _failures_page() -> str:
    """Every way a process can end."""
    text = (
        "# Failures\n\nHow a process of a job can end. The exit code is that of `llava run` and of a training pod; "
        "the reason is the word in conditions and events. Codes 10 to 19 are the user's to mend: no restart is made."
        "\n\n"
    )
    rows = ((_code(cause), f"`{cause.reason}`", _RETRIES[cause.retry], cause.advice) for cause in CAUSES)
    return text + _table(("exit code", "reason", "restart", "what to do"), rows)


def _code(cause: Cause) -> str:
    return str(cause.exit_code) if cause.exit_code >= 0 else "none"


def _recipes_page() -> str:
    """Both kinds of recipe."""
    text = (
        "# Recipes\n\n`spec.recipe` names one of these; `llava recipe show NAME` prints its whole effective spec. "
        "What the user writes wins over the recipe, field by field; `spec.dataRoot` is the folder under which the "
        "published data sets lie.\n\n## Job recipes\n\nTwo published stages that belong together, and the export.\n\n"
    )
    jobs = (
        (f"`{job.name}`", tuning_words(job.finetune), f"`{job.pretrain.name}`", f"`{job.finetune.name}`")
        for job in recipes.JOB_RECIPES.values()
    )
    text += _table(("recipe", "tuning", "pretrain", "finetune"), jobs)
    text += (
        "\n## Published recipes\n\nOne stage each, under the name that XTuner gave it. Steps are optimizer steps over "
        "the published data.\n\n"
    )
    head = ("recipe", "LLM", "template", "tuning", "GPUs x batch x accumulation", "rate", "tokens", "steps")
    return text + _table(head, (_recipe_row(recipe) for recipe in PUBLISHED.values()))


def _recipe_row(recipe: Recipe) -> tuple[str, ...]:
    return (
        f"`{recipe.name}`",
        recipe.language_model.hub_name,
        recipe.language_model.prompt_template,
        tuning_words(recipe),
        f"{recipe.num_gpus} x {recipe.batch_size} x {recipe.accumulation}",
        f"{recipe.learning_rate:g}",
        str(recipe.max_length),
        "" if recipe.num_steps is None else f"{recipe.num_steps:,}",
    )


if __name__ == "__main__":
    write(Path(sys.argv[1]))
