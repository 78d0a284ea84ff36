"""The words of a benchmark prompt: what stands between the image and the model's answer."""

from __future__ import annotations

import re

from llava_trainer.scoring.benchmark import Question

__all__ = ["IMAGE_TOKEN", "build_prompt"]

IMAGE_TOKEN = "<image>"  # noqa: S105 - a placeholder in text, no secret
_CHINESE = re.compile("[\u4e00-\u9fff]")
_ENGLISH_REQUEST = "Answer with the option's letter from the given choices directly."
_CHINESE_REQUEST = "请直接回答选项字母。"


def build_prompt(question: Question) -> str:
    """Write the human turn for a question, image token first; the prompt template is wrapped around it elsewhere."""
    lines = [IMAGE_TOKEN]
    if question.hint is not None:
        lines.append(question.hint)
    lines.append(question.question)
    lines += [f"{letter}. {text}" for letter, text in question.options.items()]
    text = "\n".join(lines)
    request = _CHINESE_REQUEST if _CHINESE.search(text) else _ENGLISH_REQUEST
    return f"{text}\n{request}"
