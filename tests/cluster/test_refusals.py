"""What the API server says of bad specs, and that `llava validate` says the same without one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from llava_contract import model_rules, rules
from llava_contract.published import PUBLISHED
from llava_contract.recipes import JOB_RECIPES
from llava_contract.rule import Rule
from llava_contract.validate import validate_body, validate_file
from support.specs import BASES, PLAIN, changed
from support.tree import ROOT

kubernetes = pytest.importorskip("kubernetes", reason="the operator extra is not installed: make init")

Told = set[tuple[str, str]]

REFUSED = yaml.safe_load((ROOT / "tests/data/contract/refused.yaml").read_text(encoding="utf-8"))
PLURALS = {"LlavaTrainJob": "llavatrainjobs", "LlavaEvalJob": "llavaevaljobs"}
OUR_RULES = {
    f'Invalid value: "object": {rule.message}'
    for room in (rules, model_rules)
    for rule in vars(room).values()
    if isinstance(rule, Rule)
}
NAME_RULE = f'Invalid value: "object": {rules.JOB_NAME.message}'


class Door:
    """The API server, asked what it would say."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def answer(self, body: dict[str, Any] | str) -> dict[str, Any]:
        """Give the object as it would be, or the Status that refuses it."""
        kind = (body if isinstance(body, dict) else yaml.safe_load(body))["kind"]
        form = "application/json" if isinstance(body, dict) else "application/yaml"
        try:
            response = self._client.call_api(
                f"/apis/llava.dev/v1alpha1/namespaces/default/{PLURALS[kind]}",
                "POST",
                query_params=[("dryRun", "All"), ("fieldValidation", "Strict")],
                header_params={"Content-Type": form, "Accept": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
            )
        except kubernetes.client.ApiException as error:
            return dict(json.loads(error.body))
        return dict(json.loads(response.data))

    def told(self, body: dict[str, Any]) -> Told:
        """Give path and message of each refusal."""
        answer = self.answer(body)
        if answer["kind"] != "Status":
            return set()
        unknown = re.findall(r'unknown field "([^"]+)"', answer["message"])
        causes = answer.get("details", {}).get("causes", ())
        return {(path, f'unknown field "{path}"') for path in unknown} | {
            # A schema cannot spell out fields of metadata, so its rule on the name has no path of its own.
            ("metadata.name" if cause["message"] == NAME_RULE else cause["field"], cause["message"])
            for cause in causes
            if "correct the existing errors to complete validation" not in cause["message"]
        }


@pytest.fixture
def door(client: Any, crds: None) -> Door:  # noqa: ARG001  they have to be there first
    return Door(client)


def ours(body: dict[str, Any]) -> Told:
    """Give the same, offline, without the nearest names that we suggest."""
    return {(problem.path, problem.message.partition("; did you mean")[0]) for problem in validate_body(body)}


def without_foreign_names(told: Told) -> Told:
    """Leave out what the API server itself says of names of any kind."""
    return {(path, message) for path, message in told if path != "metadata.name" or message in OUR_RULES}


@pytest.mark.parametrize("row", [row for row in REFUSED if "by" not in row], ids=lambda row: row["name"])
def test_the_server_and_validate_say_the_same(door: Door, row: dict[str, Any]) -> None:
    body = changed(BASES[row["job"]], row["change"])
    assert without_foreign_names(door.told(body)) == ours(body)
    assert ours(body)


@pytest.mark.parametrize("row", [row for row in REFUSED if "by" in row], ids=lambda row: row["name"])
def test_what_only_a_recipe_knows_is_left_to_the_operator(door: Door, row: dict[str, Any]) -> None:
    assert door.told(changed(BASES[row["job"]], row["change"])) == set()


def test_a_key_that_is_written_twice_is_refused_on_its_line(door: Door, tmp_path: Path) -> None:
    text = yaml.safe_dump(PLAIN) + "spec: {}\n"
    (tmp_path / "job.yaml").write_text(text)
    (problem,) = (one for one in validate_file(tmp_path / "job.yaml") if "written twice" in one.message)
    assert f'line {problem.line}: key "spec" already set in map' in door.answer(text)["message"]


@pytest.mark.parametrize("file", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda file: file.name)
def test_every_example_is_accepted(door: Door, file: Path) -> None:
    for body in yaml.safe_load_all(file.read_text()):
        if body["kind"] in PLURALS:
            assert door.answer(body)["kind"] == body["kind"]


def minimal(name: str) -> dict[str, Any]:
    """Write the least that a recipe needs beside its name."""
    spec: dict[str, Any] = {"recipe": name, "dataRoot": "pvc://datasets/", "storage": {"uri": "s3://bucket/demo"}}
    stages = JOB_RECIPES.get(name) or PUBLISHED[name]
    if name in PUBLISHED and stages.stage == "finetune":  # type: ignore[union-attr]
        spec["finetune"] = {"pretrainedProjector": "s3://bucket/projector"}
    if "refcoco" in name:
        spec["finetune"] = {**spec.get("finetune", {}), "data": [{"annotations": "pvc://datasets/refcoco.json"}]}
    head = {"apiVersion": "llava.dev/v1alpha1", "kind": "LlavaTrainJob", "metadata": {"name": "demo"}}
    return {**head, "spec": spec}


@pytest.mark.parametrize("name", [*JOB_RECIPES, *PUBLISHED])
def test_every_recipe_is_accepted_by_its_name(door: Door, name: str) -> None:
    assert (door.told(minimal(name)), validate_body(minimal(name))) == (set(), [])
