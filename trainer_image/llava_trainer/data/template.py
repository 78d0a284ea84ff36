"""The prompt templates of XTuner's chat models and its system texts, as data, and which of them a tokenizer can speak.

A template with a suffix that is the end of an answer puts BOS once in front and no EOS; one without such a suffix
closes every answer with EOS and opens every turn with BOS (sample.py).
"""
# ruff: noqa: RUF001  (templates and system texts are in the models' own characters)

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.errors import InvalidSpec, WrongTemplate

__all__ = ["SYSTEM_TEXTS", "TEMPLATES", "PromptTemplate", "get_template"]


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """How a turn is written down. `{input}`, `{round}` (from 1) and `{system}` are filled in."""

    name: str
    instruction: str
    system: str = ""
    suffix: str = ""  # after each answer, in the loss, a stop word
    suffix_is_eos: bool = False
    separator: str = ""  # between turns, not in the loss
    stop_words: tuple[str, ...] = ()

    def wrap(self, text: str, *, turn: int = 1) -> str:
        """Write one instruction down; braces in `text` stay as they are."""
        return self.instruction.format(input=text, round=turn)

    @property
    def must_be_pieces(self) -> tuple[str, ...]:
        """What has to be one piece of the vocabulary, or answers never end; nothing where EOS ends them."""
        return tuple(dict.fromkeys((self.suffix, *self.stop_words))) if self.suffix else ()

    def check(self, tokenizer: Tokenizer) -> None:
        """Raise WrongTemplate, naming one that fits, when `tokenizer` has nothing that ends an answer.

        That is suffix and stop words as single pieces, or EOS where there is no suffix.
        """
        if not self.suffix and tokenizer.eos_id is None:
            raise WrongTemplate(
                f"promptTemplate {self.name}: answers end with EOS, and the tokenizer in {tokenizer.name} names none; "
                "say eos_token in its tokenizer_config.json."
            )
        missing = [piece for piece in self.must_be_pieces if not tokenizer.is_piece(piece)]
        if missing:
            fitting = best_template(tokenizer)
            raise WrongTemplate(
                f"promptTemplate {self.name}: the tokenizer in {tokenizer.name} has no single piece for "
                f"{', '.join(missing)}, so the model could not end its answers; "
                f"use a template that fits, such as {fitting.name}."
            )


def get_template(name: str) -> PromptTemplate:
    """Look a template up; InvalidSpec when there is none of that name."""
    if name not in TEMPLATES:
        near = get_close_matches(name, TEMPLATES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? There are" if near else "choose one of"
        raise InvalidSpec(f"promptTemplate {name}: there is no such template; {hint} {', '.join(sorted(TEMPLATES))}.")
    return TEMPLATES[name]


_MARKER: Final = re.compile(r"<[^<>\s{}]+>")


def best_template(tokenizer: Tokenizer) -> PromptTemplate:
    """Of the templates all of whose markers the vocabulary holds, the one with most; else vicuna, which needs none."""

    def rank(template: PromptTemplate) -> tuple[bool, int]:
        markers = set(_MARKER.findall(template.instruction)) | set(template.must_be_pieces)
        return tokenizer.token_id(template.suffix) == tokenizer.eos_id, len(markers)

    def fits(template: PromptTemplate) -> bool:
        markers = [*_MARKER.findall(template.instruction), *template.must_be_pieces]
        return bool(template.suffix) and all(tokenizer.is_piece(marker) for marker in markers)

    return max(filter(fits, TEMPLATES.values()), key=rank, default=TEMPLATES["vicuna"])


# System texts that two templates share.
_CURIOUS_USER: Final = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. {system}\n "
)
_CODER: Final = (
    "You are an AI programming assistant, utilizing the DeepSeek Coder model, developed by "
    "DeepSeekCompany, and you only answer questions related to computer science. For politically "
    "sensitive questions, security and privacy issues, and other non-computer science questions, you "
    "will refuse to answer. {system}\n"
)

_ALL: Final = (
    PromptTemplate(
        "default",
        "<|User|>:{input}\n<|Bot|>:",
        system="<|System|>:{system}\n",
        separator="\n",
    ),
    PromptTemplate(
        "zephyr",
        "<|user|>\n{input}\n<|assistant|>\n",
        system="<|system|>\n{system}\n",
        separator="\n",
    ),
    PromptTemplate(
        "internlm_chat",
        "<|User|>:{input}<eoh>\n<|Bot|>:",
        system="<|System|>:{system}\n",
        suffix="<eoa>",
        suffix_is_eos=True,
        separator="\n",
        stop_words=("<eoa>",),
    ),
    PromptTemplate(
        "internlm2_chat",
        "<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n",
        system="<|im_start|>system\n{system}<|im_end|>\n",
        suffix="<|im_end|>",
        suffix_is_eos=True,
        separator="\n",
        stop_words=("<|im_end|>",),
    ),
    PromptTemplate(
        "moss_sft",
        "<|Human|>: {input}<eoh>\n",
        system="{system}\n",
        separator="\n",
        stop_words=(
            "<eoc>",
            "<eom>",
        ),
    ),
    PromptTemplate(
        "llama2_chat",
        "[INST] {input} [/INST]",
        system=(
            "[INST] <<SYS>>\n You are a helpful, respectful and honest assistant. Always answer as helpfully as "
            "possible, while being safe. Your answers should not include any harmful, unethical, racist, sexist, "
            "toxic, dangerous, or illegal content. Please ensure that your responses are socially unbiased and "
            "positive in nature.\n{system}\n<</SYS>>\n [/INST] "
        ),
        separator="\n",
    ),
    PromptTemplate(
        "code_llama_chat",
        "[INST] {input} [/INST]",
        system="{system}\n",
    ),
    PromptTemplate(
        "chatglm2",
        "[Round {round}]\n\n问：{input}\n\n答：",
        system="{system}\n",
        separator="\n\n",
    ),
    PromptTemplate(
        "chatglm3",
        "<|user|>\n{input}<|assistant|>\n",
        system="<|system|>\n{system}",
        separator="\n",
    ),
    PromptTemplate(
        "qwen_chat",
        "<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n",
        system="<|im_start|>system\n{system}<|im_end|>\n",
        suffix="<|im_end|>",
        suffix_is_eos=True,
        separator="\n",
        stop_words=(
            "<|im_end|>",
            "<|endoftext|>",
        ),
    ),
    PromptTemplate(
        "baichuan_chat",
        "<reserved_102>{input}<reserved_103>",
        system="{system}\n",
        separator="\n",
    ),
    PromptTemplate(
        "baichuan2_chat",
        "<reserved_106>{input}<reserved_107>",
        system="{system}\n",
        separator="\n",
    ),
    PromptTemplate(
        "wizardlm",
        "USER: {input} ASSISTANT:",
        system=_CURIOUS_USER,
        separator="\n",
    ),
    PromptTemplate(
        "wizardcoder",
        "### Instruction:\n{input}\n\n### Response:",
        system=(
            "Below is an instruction that describes a task. Write a response that appropriately completes the "
            "request.\n\n{system}\n "
        ),
        separator="\n\n",
    ),
    PromptTemplate(
        "vicuna",
        "USER: {input} ASSISTANT:",
        system=_CURIOUS_USER,
        separator="\n",
    ),
    PromptTemplate(
        "deepseek_coder",
        "### Instruction:\n{input}\n### Response:\n",
        system=_CODER,
        separator="\n",
    ),
    PromptTemplate(
        "deepseekcoder",
        "### Instruction:\n{input}\n### Response:\n",
        system=_CODER,
        separator="\n",
    ),
    PromptTemplate(
        "deepseek_moe",
        "[INST] {input} [/INST]",
        system="[INST] {system} [/INST]\n",
        separator="\n",
    ),
    PromptTemplate(
        "deepseek_v2",
        "User: {input}\n\nAssistant: ",
        system="{system}\n\n",
        suffix="<｜end▁of▁sentence｜>",
        suffix_is_eos=True,
        stop_words=("<｜end▁of▁sentence｜>",),
    ),
    PromptTemplate(
        "mistral",
        "[INST] {input} [/INST]",
        system="[INST] {system} [/INST]\n",
        separator="\n",
    ),
    PromptTemplate(
        "mixtral",
        "[INST] {input} [/INST]",
        system="[INST] {system} [/INST]\n",
        separator="\n",
    ),
    PromptTemplate(
        "minicpm",
        "<用户> {input} <AI>",
        separator="\n",
    ),
    PromptTemplate(
        "minicpm3",
        "<|im_start|>user\n{input}<|im_end|>\n<|im_start|>assistant\n",
        system="<|im_start|>system\n{system}<|im_end|>\n",
        suffix="<|im_end|>",
        suffix_is_eos=True,
        separator="\n",
        stop_words=(
            "<|im_end|>",
            "<|endoftext|>",
        ),
    ),
    PromptTemplate(
        "gemma",
        "<start_of_turn>user\n{input}<end_of_turn>\n<start_of_turn>model\n",
        system="<start_of_turn>system\n{system}<end_of_turn>\n",
        suffix="<end_of_turn>",
        separator="\n",
        stop_words=("<end_of_turn>",),
    ),
    PromptTemplate(
        "cohere_chat",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{input}<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        system="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{system}<|END_OF_TURN_TOKEN|>",
        suffix="<|END_OF_TURN_TOKEN|>",
        suffix_is_eos=True,
        stop_words=("<|END_OF_TURN_TOKEN|>",),
    ),
    PromptTemplate(
        "llama3_chat",
        (
            "<|start_header_id|>user<|end_header_id|>\n\n"
            "{input}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        ),
        system="<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>",
        suffix="<|eot_id|>",
        suffix_is_eos=True,
        stop_words=("<|eot_id|>",),
    ),
    PromptTemplate(
        "phi3_chat",
        "<|user|>\n{input}<|end|>\n<|assistant|>\n",
        system="<|system|>\n{system}<|end|>\n",
        suffix="<|end|>",
        suffix_is_eos=True,
        separator="\n",
        stop_words=("<|end|>",),
    ),
)

TEMPLATES: Final = MappingProxyType({template.name: template for template in _ALL})

SYSTEM_TEXTS: Final = MappingProxyType(
    {
        "moss_sft": (
            "You are an AI assistant whose name is {bot_name}.\nCapabilities and tools that {bot_name} can possess.\n"
            "- Inner thoughts: enabled.\n- Web search: enabled. API: Search(query)\n- Calculator: enabled. API: "
            "Calculate(expression)\n- Equation solver: enabled. API: Solve(equation)\n- Text-to-image: disabled.\n- "
            "Image edition: disabled.\n- Text-to-speech: disabled.\n"
        ),
        "alpaca": (
            "Below is an instruction that describes a task. Write a response that appropriately completes the "
            "request.\n"
        ),
        "arxiv_gentile": (
            "If you are an expert in writing papers, please generate a good paper title for this paper based on "
            "other authors' descriptions of their abstracts.\n"
        ),
        "colorist": (
            "You are a professional color designer. Please provide the corresponding colors based on the description "
            "of Human.\n"
        ),
        "coder": (
            "You are a professional programer. Please provide the corresponding code based on the description of "
            "Human.\n"
        ),
        "lawyer": "你现在是一名专业的中国律师，请根据用户的问题给出准确、有理有据的回复。\n",
        "medical": "如果你是一名医生，请根据患者的描述回答医学问题。\n",
        "sql": (
            "If you are an expert in SQL, please generate a good SQL Query for Question based on the CREATE TABLE "
            "statement.\n"
        ),
    }
)
