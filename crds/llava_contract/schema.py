"""How every model of the contract behaves: camelCase, unknown fields refused, values frozen, rules enforced."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Final, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from llava_contract.rule import Rule

__all__ = [
    "LIST_SET",
    "SHAPE_ONLY",
    "UNIQUE",
    "Name",
    "Schema",
    "Uri",
    "broken_rules",
    "filled_by_recipe",
    "list_map",
    "model_in",
    "unchecked",
    "unique_by",
]


SHAPE_ONLY: Final = "shape only"
"""As validation context: look at fields one by one and leave the rules to `broken_rules`."""


class Schema(BaseModel):
    """Base of all resources, run configurations and results."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _keep_rules(self, info: ValidationInfo) -> Self:
        if info.context is SHAPE_ONLY:
            return self
        broken = [
            InitErrorDetails(
                type=PydanticCustomError("rule", "{sentence}", {"sentence": rule.message}), loc=rule.path, input=None
            )
            for rule in self.RULES
            if not rule.holds(self)
        ]
        if broken:
            raise ValidationError.from_exception_data(type(self).__name__, broken)
        return self


Uri = Annotated[
    str, Field(min_length=1, max_length=1024, pattern=r"^((hf|s3|pvc)://\S+|file:///.+|[^:\s]|[^:\s][^:]*[^:\s])$")
]
"""A location: hf://org/name, s3://bucket/key, pvc://claim/path, file:///path, or a plain path."""

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS-1123 label."""


def filled_by_recipe(default: Any, **extra: Any) -> Any:
    """A field with a default in Python and none in the CRD: only what the user wrote may win over a recipe.

    `extra` is what else the CRD says of it.
    """
    return Field(default=default, json_schema_extra={"x-filled-by-recipe": True, **extra})


def broken_rules(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Rule]]:
    """Every rule that a model or one inside it breaks, with the path of the field to change.

    Unlike validation, which stops at the innermost model, this tells them all, as the API server does.
    """
    if isinstance(value, Schema):
        yield from (((*path, *rule.path), rule) for rule in value.RULES if not rule.holds(value))
        for name, field in type(value).model_fields.items():
            yield from broken_rules(getattr(value, name), (*path, field.alias or name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from broken_rules(item, (*path, index))


def model_in(annotation: Any) -> type[Schema] | None:
    """The model that a field holds, one or a list of them; None for a field of another kind."""
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        return annotation
    return next((model for inner in get_args(annotation) if (model := model_in(inner))), None)


def unchecked(model: type[Schema], value: Any) -> Any:
    """A model of a value whose types are right and whose bounds need not be, so that its rules can be looked at."""
    if isinstance(value, list):
        return [unchecked(model, item) for item in value]
    written = {name: field for name, field in model.model_fields.items() if (field.alias or name) in value}
    content = {name: value[field.alias or name] for name, field in written.items()}
    inner = {name: found for name, field in written.items() if (found := model_in(field.annotation))}
    return model.model_construct(**{**content, **{name: unchecked(inner[name], content[name]) for name in inner}})


LIST_SET: Final[dict[str, Any]] = {"x-kubernetes-list-type": "set"}
"""What the CRD says of a list in which no value comes twice; goes with `UNIQUE`."""


def list_map(key: str) -> dict[str, Any]:
    """What the CRD says of a list in which no two items share `key`; goes with `unique_by(key)`."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def unique_by(key: str) -> AfterValidator:
    """Refuse a list in which two items share `key`, as the API server does for a list of type map."""
    return AfterValidator(lambda items: _refuse_repeats(items, [{key: getattr(item, key)} for item in items]))


def _refuse_repeats(items: list[Any], identities: list[Any]) -> list[Any]:
    errors = [
        InitErrorDetails(type=PydanticCustomError("duplicate", "Duplicate value"), loc=(index,), input=identity)
        for index, identity in enumerate(identities)
        if identity in identities[:index]
    ]
    if errors:
        raise ValidationError.from_exception_data("list", errors)
    return items


UNIQUE: Final = AfterValidator(lambda items: _refuse_repeats(items, items))
"""Refuse a list in which a value comes twice, as the API server does for a list of type set."""
