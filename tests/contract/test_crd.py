"""The generated definitions: structural, bounded, described, and what kubectl shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft4Validator

from llava_contract.crd import RESOURCES, Resource, as_yaml, definition, render, schema_of, write
from support.specs import BASES, with_defaults

CRDS = Path(__file__).parents[2] / "crds"
each_resource = pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


@each_resource
def test_the_file_in_the_tree_is_the_generated_one(resource: Resource) -> None:
    assert (CRDS / resource.file_name).read_text(encoding="utf-8") == render(resource)


def test_writing_makes_one_file_a_kind(tmp_path: Path) -> None:
    write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "llava.dev_llavaevaljobs.yaml",
        "llava.dev_llavatrainjobs.yaml",
    ]


def test_both_come_as_one_stream() -> None:
    assert list(yaml.safe_load_all(as_yaml())) == [definition(resource) for resource in RESOURCES]


@each_resource
def test_a_definition_fits_client_side_apply(resource: Resource) -> None:
    assert len(render(resource).encode()) < 200_000


@each_resource
def test_yaml_reads_back_as_the_definition(resource: Resource) -> None:
    assert yaml.safe_load(render(resource)) == definition(resource)


@each_resource
def test_every_node_is_structural(resource: Resource) -> None:
    allowed = {
        "type", "description", "properties", "required", "items", "additionalProperties", "enum", "default", "format",
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "minItems",
        "maxItems", "maxProperties", "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
    }  # fmt: skip
    for path, node in nodes(schema_of(resource.model)):
        assert set(node) <= allowed, path
        assert node["type"] in {"object", "array", "string", "integer", "number", "boolean"}, path


@each_resource
def test_every_field_is_described_in_one_line(resource: Resource) -> None:
    for path, node in nodes(schema_of(resource.model)):
        if not path.endswith("[]") and path != ".metadata":
            assert node["description"].strip(), path
            assert "\n" not in node["description"], path


@each_resource
def test_the_spec_is_bounded_everywhere(resource: Resource) -> None:
    for path, node in nodes(schema_of(resource.model)["properties"]["spec"]):
        if node["type"] == "string":
            assert "maxLength" in node or "enum" in node, path
        if node["type"] == "array":
            assert node["maxItems"] <= 64, path
        if "additionalProperties" in node:
            assert node["maxProperties"] <= 64, path
        if node["type"] in ("integer", "number"):
            assert {"minimum", "maximum"} <= set(node), path


@each_resource
def test_only_affinity_and_volumes_are_open_and_no_rule_reads_them(resource: Resource) -> None:
    named = list(nodes(schema_of(resource.model)))
    is_open = {path.rpartition(".")[2] for path, node in named if "x-kubernetes-preserve-unknown-fields" in node}
    assert is_open == {"affinity", "volumes[]"}
    texts = [rule["rule"] for _, node in named for rule in node.get("x-kubernetes-validations", ())]
    assert not any(name in text for text in texts for name in ("affinity", "volumes"))


@each_resource
def test_lists_say_how_they_merge(resource: Resource) -> None:
    keyed = {
        path: node.get("x-kubernetes-list-map-keys")
        for path, node in nodes(schema_of(resource.model))
        if node.get("x-kubernetes-list-type") == "map"
    }
    overlays = (".spec.workers.podTemplate", ".spec.workers.cpu.podTemplate")
    assert keyed == {
        ".spec.evaluate.benchmarks": ["name"], ".status.stages": ["name"], ".status.conditions": ["type"],
        **{f"{overlay}.{name}": ["name"] for overlay in overlays for name in ("env", "volumes")},
    }  # fmt: skip
    assert all(
        node["x-kubernetes-list-type"] for _, node in nodes(schema_of(resource.model)) if node["type"] == "array"
    )


@each_resource
def test_keys_of_lists_are_required(resource: Resource) -> None:
    for path, node in nodes(schema_of(resource.model)):
        assert set(node.get("x-kubernetes-list-map-keys", ())) <= set(node.get("items", {}).get("required", ())), path


@each_resource
def test_defaults_obey_their_own_schema(resource: Resource) -> None:
    for path, node in nodes(schema_of(resource.model)):
        if "default" in node:
            assert Draft4Validator(node).is_valid(node["default"]), path


@pytest.mark.parametrize("base", BASES)
def test_good_jobs_are_valid_with_their_defaults(base: str) -> None:
    resource = next(one for one in RESOURCES if one.kind == BASES[base]["kind"])
    schema = schema_of(resource.model)
    assert list(Draft4Validator(schema).iter_errors(with_defaults(schema, BASES[base]))) == []


def test_no_field_that_a_recipe_fills_has_a_default() -> None:
    spec = schema_of(RESOURCES[0].model)["properties"]["spec"]["properties"]
    with_default = {name for stage in ("pretrain", "finetune") for name in spec[stage]["properties"] if "default" in
                    spec[stage]["properties"][name]}  # fmt: skip
    assert with_default == {"seed", "deterministic", "stopOnLossSpike"}
    assert all(
        "default" not in spec["finetune"]["properties"]["samples"]["properties"][name]
        for name in ("prompts", "everySteps")
    )
    assert "default" not in spec["workers"]["properties"]["gpusPerWorker"]
    assert "default" not in spec["finetune"]["properties"]["llm"]["properties"]["lora"]["properties"]["dropout"]


def test_training_jobs_are_listed_by_the_promised_columns() -> None:
    version = definition(RESOURCES[0])["spec"]["versions"][0]
    shown = [column["name"].upper() for column in version["additionalPrinterColumns"] if "priority" not in column]
    assert shown == ["STAGE", "STATE", "PROGRESS", "LOSS", "ETA", "SCORE", "RESTARTS", "AGE"]


def test_the_page_about_kubectl_shows_these_columns() -> None:
    version = definition(RESOURCES[0])["spec"]["versions"][0]
    columns = [column["name"].upper() for column in version["additionalPrinterColumns"]]
    page = (CRDS.parent / "docs/kubectl.md").read_text(encoding="utf-8")
    assert ["NAME", *columns] in [line.split() for line in page.splitlines()]


@each_resource
def test_every_column_shows_a_field(resource: Resource) -> None:
    known = {path for path, _ in nodes(schema_of(resource.model))} | {".metadata.creationTimestamp"}
    shown = {column.path.replace('?(@.type=="Ready")', "") for column in resource.columns}
    assert shown | set(resource.selectable) <= known


@pytest.mark.parametrize(("index", "short"), [(0, "ltj"), (1, "lej")])
def test_names_for_kubectl(index: int, short: str) -> None:
    spec = definition(RESOURCES[index])["spec"]
    assert (spec["names"]["shortNames"], spec["names"]["categories"]) == ([short], ["llava"])
    assert (spec["scope"], spec["versions"][0]["subresources"]) == ("Namespaced", {"status": {}})
    assert {"jsonPath": ".status.phase"} in spec["versions"][0]["selectableFields"]
