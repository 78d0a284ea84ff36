"""What the API server would say of a job file, said offline: its verdicts, its paths and its messages.

On top of that the recipe is applied, so that a job which would be admitted and then refused is refused here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from llava_contract import recipes
from llava_contract.crd import GROUP, RESOURCES, VERSION, Resource, schema_of
from llava_contract.jobfile import Document, FieldPath, read_documents, spell
from llava_contract.problems import InvalidJob, Problem
from llava_contract.schema import SHAPE_ONLY, Schema, broken_rules, unchecked
from llava_contract.v1alpha1 import Job, JobSpec, LlavaTrainJob, LlavaTrainJobSpec

__all__ = ["effective_spec", "load_job", "read_job", "validate_body", "validate_file"]

_JOB: Final[TypeAdapter[Job]] = TypeAdapter(Job)
_KINDS: Final = {resource.kind: resource for resource in RESOURCES}

_SAYINGS: Final = {
    "missing": "Required value",
    "duplicate": "Duplicate value: {json}",
    "greater_than_equal": "Invalid value: {value}: {path} in body should be greater than or equal to {ge}",
    "greater_than": "Invalid value: {value}: {path} in body should be greater than {gt}",
    "less_than_equal": "Invalid value: {value}: {path} in body should be less than or equal to {le}",
    "less_than": "Invalid value: {value}: {path} in body should be less than {lt}",
    "string_pattern_mismatch": "Invalid value: \"{value}\": {path} in body should match '{pattern}'",
    "string_too_short": 'Invalid value: "{value}": {path} in body should be at least {min_length} chars long',
    "string_too_long": "Too long: may not be more than {max_length} bytes",
    "too_short": "Invalid value: {size}: {path} in body should have at least {min_length} items",
    "too_long": "Too many: {size}: must have at most {max_length} items",
}
"""The API server's words for each kind of refusal."""

_NOT_BLOCKING: Final = (
    "duplicate", "greater_than_equal", "greater_than", "less_than_equal", "less_than", "string_pattern_mismatch",
    "string_too_short", "too_short",
)  # fmt: skip
"""Refusals beside which the API server looks at the rules too."""


def validate_file(path: Path) -> list[Problem]:
    """Everything that is wrong with the LLaVA jobs of a file, by line; documents of other API groups are passed over.

    Raises MissingJobFile when there is no file to read.
    """
    try:
        documents = read_documents(path)
    except InvalidJob as error:
        return list(error.problems)
    problems = [problem for document in documents for problem in _problems_of(document)]
    if not problems and not any(_is_ours(document.body) for document in documents):
        return [Problem("", f"holds no {' or '.join(_KINDS)} of {GROUP}/{VERSION}")]
    return sorted(problems, key=lambda problem: problem.line or 0)


def load_job(path: Path) -> Job:
    """The one job of a file, of either kind; raises InvalidJob with every problem, or MissingJobFile."""
    if problems := validate_file(path):
        raise InvalidJob(problems, str(path))
    bodies = [document.body for document in read_documents(path) if _is_ours(document.body)]
    if len(bodies) != 1:
        raise InvalidJob([Problem("", f"holds {len(bodies)} jobs; write exactly one")], str(path))
    return read_job(bodies[0])


def read_job(body: Any) -> Job:
    """A job of either kind from a body; raises ValidationError."""
    return _JOB.validate_python(body)


def effective_spec(spec: JobSpec) -> JobSpec:
    """The spec with its recipe applied; no recipe speaks of evaluations. Raises InvalidJob for what is missing."""
    return recipes.effective(spec) if isinstance(spec, LlavaTrainJobSpec) else spec


def validate_body(body: Any) -> list[Problem]:
    """Everything that is wrong with one parsed job; the paths have no lines."""
    return list(_problems_of(Document(body, {})))


def _is_ours(body: Any) -> bool:
    return isinstance(body, dict) and str(body.get("apiVersion", "")).split("/")[0] == GROUP


def _problems_of(document: Document) -> Iterator[Problem]:
    yield from document.duplicates
    body = document.body
    if not isinstance(body, dict):
        yield Problem("", "not a Kubernetes object: write apiVersion, kind, metadata and spec", document.line(()))
        return
    for key in ("apiVersion", "kind"):
        if not isinstance(body.get(key), str):
            yield Problem(key, "Required value")
    if not _is_ours(body) or not isinstance(body.get("kind"), str):
        return
    resource = _KINDS.get(body["kind"])
    if resource is None or body["apiVersion"] != f"{GROUP}/{VERSION}":
        near = get_close_matches(body["kind"], _KINDS, n=1, cutoff=0.5)
        hint = f"; write kind: {near[0]} and apiVersion: {GROUP}/{VERSION}" if near else ""
        message = f'no matches for kind "{body["kind"]}" in version "{body["apiVersion"]}"{hint}'
        yield Problem("kind", message, document.line(("kind",)))
        return
    yield from _problems_of_job(document, resource)


def _problems_of_job(document: Document, resource: Resource) -> Iterator[Problem]:
    text = json.dumps(document.body, default=str)
    try:
        # Strict, as the API server is: "16" is no number; and only the names on the wire are fields.
        job = resource.model.model_validate_json(text, strict=True, by_alias=True, by_name=False, context=SHAPE_ONLY)
    except ValidationError as error:
        for one in error.errors():
            where, line = spell(one["loc"]), document.line(one["loc"])
            if one["type"] == "enum" and not isinstance(one["input"], str):
                yield Problem(where, _type_message(where, one["input"], {"type": "string"}), line)
            yield Problem(where, _message(one, resource.model), line)
        if all(one["type"] in _NOT_BLOCKING for one in error.errors()):
            yield from _broken(unchecked(resource.model, document.body), document)
        return
    broken = list(_broken(job, document))
    yield from broken
    if isinstance(job, LlavaTrainJob) and not broken:
        try:
            recipes.effective(job.spec)
        except InvalidJob as error:
            for problem in error.problems:
                yield replace(problem, line=document.line(tuple(problem.path.split("."))))


def _broken(job: Schema, document: Document) -> Iterator[Problem]:
    for path, rule in broken_rules(job):
        yield Problem(spell(path), f'Invalid value: "object": {rule.message}', document.line(path))


def _message(error: ErrorDetails, model: type[Schema]) -> str:
    """One pydantic error in the API server's words."""
    kind, path, value, context = error["type"], spell(error["loc"]), error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), _fields_at(model, error["loc"][:-1]), n=1, cutoff=0.5)
        return f'unknown field "{path}"' + (f"; did you mean {near[0]}?" if near else "")
    if kind in ("enum", "literal_error"):
        supported = ", ".join(f'"{one}"' for one in _schema_at(model, error["loc"]).get("enum", [context["expected"]]))
        return f"Unsupported value: {json.dumps(value)}: supported values: {supported}"
    if kind in _SAYINGS:
        numbers = {key: f"{number:g}" if isinstance(number, float) else number for key, number in context.items()}
        shown = f"{value:g}" if isinstance(value, float) else value
        size = len(value) if isinstance(value, (str, list)) else 0
        compact = json.dumps(value, separators=(",", ":"), default=str)
        return _SAYINGS[kind].format(path=path, value=shown, size=size, json=compact, **numbers)
    return _type_message(path, value, _schema_at(model, error["loc"]))


def _type_message(path: str, value: Any, schema: dict[str, Any]) -> str:
    given = _type_name(value)
    return f'Invalid value: "{given}": {path} in body must be of type {schema.get("type", "object")}: "{given}"'


def _type_name(value: Any) -> str:
    """The JSON type of a value."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")


def _schema_at(model: type[Schema], path: FieldPath) -> dict[str, Any]:
    """The schema of the field at a path; empty where there is none."""
    node = schema_of(model)
    for part in path:
        inner = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        node = inner or node.get("additionalProperties") or {}
    return node


def _fields_at(model: type[Schema], path: FieldPath) -> list[str]:
    return list(_schema_at(model, path).get("properties", {}))
