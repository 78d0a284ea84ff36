"""How the models become CustomResourceDefinitions: structural schemas with defaults, bounds, rules and printer columns.

`python -m llava_contract.crd DIR` writes the two files.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from llava_contract.rule import Rule
from llava_contract.schema import Schema, model_in
from llava_contract.v1alpha1 import LlavaEvalJob, LlavaTrainJob

__all__ = ["GROUP", "RESOURCES", "VERSION", "Resource", "as_yaml", "definition", "render", "schema_of", "write"]

GROUP: Final = "llava.dev"
VERSION: Final = "v1alpha1"

_DROPPED: Final = ("title", "x-filled-by-recipe", "additionalProperties", "discriminator")
_ROOT_FIELDS: Final = {
    "apiVersion": "Version of this representation of the object: llava.dev/v1alpha1.",
    "kind": "Name of the resource that this object is.",
}


_READY: Final = '.status.conditions[?(@.type=="Ready")].{}'


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`."""

    name: str
    type: str
    path: str
    description: str
    is_wide: bool = False
    """Whether only `-o wide` shows it."""


STAGE: Final = Column("Stage", "string", ".status.currentStage", "The stage being worked on, or the last one that was.")
STATE: Final = Column("State", "string", ".status.phase", "Where the job stands.")
PROGRESS: Final = Column("Progress", "string", ".status.progress.summary", "Steps done of all steps.")
LOSS: Final = Column("Loss", "number", ".status.progress.loss", "Latest training loss.")
ETA: Final = Column("ETA", "string", ".status.progress.eta", "Time left in the stage.")
SCORE: Final = Column("Score", "string", ".status.score", "Circular accuracy of the first benchmark, in per cent.")
RESTARTS: Final = Column("Restarts", "integer", ".status.restarts", "Restarts over all stages.")
AGE: Final = Column("Age", "date", ".metadata.creationTimestamp", "Time since the job was created.")
RECIPE: Final = Column("Recipe", "string", ".spec.recipe", "The recipe that fills the spec.", is_wide=True)
MODEL: Final = Column("Model", "string", ".status.model.uri", "What is scored.", is_wide=True)
RATE: Final = Column(
    "Samples/s", "number", ".status.progress.samplesPerSecond", "Samples a second over all ranks.", is_wide=True
)
REASON: Final = Column(
    "Reason", "string", _READY.format("reason"), "Why the job is not ready, or that it succeeded.", is_wide=True
)
MESSAGE: Final = Column("Message", "string", _READY.format("message"), "The same as a sentence.", is_wide=True)


@dataclass(frozen=True)
class Resource:
    """One kind of the group and how kubectl shows it."""

    model: type[Schema]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...]
    """Fields that `--field-selector` knows."""

    @property
    def kind(self) -> str:
        """The kind's name, which is the model's."""
        return self.model.__name__

    @property
    def file_name(self) -> str:
        """Name of the generated file."""
        return f"{GROUP}_{self.plural}.yaml"


RESOURCES: Final = (
    Resource(
        LlavaTrainJob,
        "llavatrainjobs",
        "ltj",
        (STAGE, STATE, PROGRESS, LOSS, ETA, SCORE, RESTARTS, AGE, RECIPE, RATE, REASON, MESSAGE),
        (".status.phase", ".status.currentStage", ".spec.recipe"),
    ),
    Resource(
        LlavaEvalJob,
        "llavaevaljobs",
        "lej",
        (STATE, PROGRESS, ETA, SCORE, RESTARTS, AGE, MODEL, REASON, MESSAGE),
        (".status.phase", ".spec.model.trainJobName"),
    ),
)


@cache
def schema_of(model: type[Schema]) -> dict[str, Any]:
    """The structural OpenAPI schema of a resource; do not change the returned value."""
    generated = model.model_json_schema(by_alias=True)
    definitions = generated.pop("$defs", {})
    schema = _structural(generated, definitions)
    for name, description in _ROOT_FIELDS.items():
        schema["properties"][name] = {"description": description, "type": "string"}
    schema["properties"]["metadata"] = {
        "type": "object"
    }  # the API server describes it, and refuses another description
    schema["required"] = ["spec"]
    _attach_rules(schema, model)
    return schema


def _structural(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """One node without references, titles and null alternatives."""
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        return _structural({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
    if "anyOf" in node:
        (only,) = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
        rest = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
        return _structural({**only, **rest}, definitions)
    schema = {key: value for key, value in node.items() if key not in _DROPPED}
    if isinstance(node.get("description"), str):
        schema["description"] = " ".join(node["description"].split())
    if node.get("x-filled-by-recipe"):
        schema.pop("default", None)
    if isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    if "properties" in node:
        schema["properties"] = {key: _structural(value, definitions) for key, value in node["properties"].items()}
        if "default" in schema:
            # Spelled out: the API server runs the rules on a default before it fills the properties' own.
            schema["default"] = {
                key: inner["default"] for key, inner in schema["properties"].items() if "default" in inner
            }
    if "items" in node:
        schema["items"] = _structural(node["items"], definitions)
    return _in_openapi_3(schema)


def _in_openapi_3(schema: dict[str, Any]) -> dict[str, Any]:
    """Say bounds and constants in the dialect of OpenAPI 3.0, and of lists how they merge."""
    for bound, flag in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if flag in schema:
            schema = {**schema, bound: schema[flag], flag: True}
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if schema.get("type") == "array":
        schema.setdefault("x-kubernetes-list-type", "atomic")
    if schema.get("type") == "integer" and "format" not in schema:
        schema["format"] = "int64"
    return schema


def _attach_rules(schema: dict[str, Any], model: type[Schema]) -> None:
    """Write each model's rules beside its properties, all the way down."""
    if model.RULES:
        schema["x-kubernetes-validations"] = [_validation(rule, schema) for rule in model.RULES]
    for name, field in model.model_fields.items():
        node = schema.get("properties", {}).get(field.alias or name)
        if inner := model_in(field.annotation):
            _attach_rules(node["items"] if node["type"] == "array" else node, inner)


def _validation(rule: Rule, schema: dict[str, Any]) -> dict[str, str]:
    """A rule as the API server reads it; a path into metadata, which the schema may not spell out, stays unsaid."""
    validation = {"rule": rule.cel, "message": rule.message}
    node = schema
    for name in rule.path:
        node = node.get("properties", {}).get(name, {})
    return {**validation, "fieldPath": "".join(f".{name}" for name in rule.path)} if rule.path and node else validation


def definition(resource: Resource) -> dict[str, Any]:
    """The whole CustomResourceDefinition of a kind."""
    columns = [
        {
            "name": column.name,
            "type": column.type,
            "jsonPath": column.path,
            "description": column.description,
            **({"priority": 1} if column.is_wide else {}),
        }
        for column in resource.columns
    ]
    names = {
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": resource.kind.lower(),
        "shortNames": [resource.short_name],
        "categories": ["llava"],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": columns,
        "selectableFields": [{"jsonPath": path} for path in resource.selectable],
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema_of(resource.model)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


class _PlainDumper(yaml.SafeDumper):
    """Repeats shared values instead of anchoring them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the base class names it
        """Never anchor."""
        return True


def render(resource: Resource) -> str:
    """The definition as YAML."""
    head = "# Generated from the contract by `make generate`; edit crds/llava_contract instead.\n"
    return head + yaml.dump(definition(resource), Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True)


def as_yaml() -> str:
    """Both definitions as one stream of documents."""
    return "---\n".join(render(resource) for resource in RESOURCES)


def write(folder: Path) -> None:
    """Write one file a kind."""
    for resource in RESOURCES:
        (folder / resource.file_name).write_text(render(resource), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
