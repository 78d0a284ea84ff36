"""The chat template of an export writes conversations down as training did, for every prompt template."""

from __future__ import annotations

from dataclasses import fields

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llava_trainer.data.template import TEMPLATES, PromptTemplate
from llava_trainer.formats.huggingface.chat import ChatStyle

Content = str | list[dict[str, str]]


def render(template: PromptTemplate, *messages: tuple[str, Content]) -> str:
    style = ChatStyle(**{field.name: getattr(template, field.name) for field in fields(ChatStyle)})
    turns = [{"role": role, "content": text} for role, text in messages]
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(style.to_jinja()).render(messages=turns, bos_token="<s>", eos_token="</s>")


@pytest.mark.parametrize("name", TEMPLATES)
def test_two_turns_are_written_as_in_training(name: str) -> None:
    template = TEMPLATES[name]
    end, begin = ("", "") if template.suffix_is_eos else ("</s>", "<s>")
    first = "<s>" + template.wrap("<image>\nWhat {is} this?") + 'a "cat"\n' + template.suffix + end + template.separator
    wanted = first + begin + template.wrap("Sure?", turn=2)
    assert (
        render(template, ("user", "<image>\nWhat {is} this?"), ("assistant", 'a "cat"\n'), ("user", "Sure?")) == wanted
    )


@pytest.mark.parametrize("name", [name for name, template in TEMPLATES.items() if template.system])
def test_a_system_text_stands_before_the_first_turn(name: str) -> None:
    template = TEMPLATES[name]
    wanted = "<s>" + template.system.format(system="Be kind.") + template.wrap("Hi")
    assert render(template, ("system", "Be kind."), ("user", "Hi")) == wanted


IMAGE = {"type": "image"}


def words(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("content", "want"),
    [
        ([words("What?"), IMAGE], "<image>\nWhat?"),
        ([IMAGE, IMAGE, words("Same?")], "<image>\n<image>\nSame?"),
        ([words("First: "), IMAGE, words("Second: "), IMAGE], "First: <image>\nSecond: <image>"),
    ],
)
def test_several_images_stand_where_they_were_put(content: list[dict[str, str]], want: str) -> None:
    assert render(TEMPLATES["vicuna"], ("user", content)) == f"<s>USER: {want} ASSISTANT:"
