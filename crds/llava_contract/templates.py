"""The names of the prompt templates that a spec may ask for; how each is written is the trainer's to know.

The trainer's own table is compared with this one by a test, so that a name is refused before anything starts.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["TemplateName"]


class TemplateName(StrEnum):
    """A chat template that an LLM was trained with."""

    DEFAULT = "default"
    ZEPHYR = "zephyr"
    INTERNLM_CHAT = "internlm_chat"
    INTERNLM2_CHAT = "internlm2_chat"
    MOSS_SFT = "moss_sft"
    LLAMA2_CHAT = "llama2_chat"
    CODE_LLAMA_CHAT = "code_llama_chat"
    CHATGLM2 = "chatglm2"
    CHATGLM3 = "chatglm3"
    QWEN_CHAT = "qwen_chat"
    BAICHUAN_CHAT = "baichuan_chat"
    BAICHUAN2_CHAT = "baichuan2_chat"
    WIZARDLM = "wizardlm"
    WIZARDCODER = "wizardcoder"
    VICUNA = "vicuna"
    DEEPSEEK_CODER = "deepseek_coder"
    DEEPSEEKCODER = "deepseekcoder"
    DEEPSEEK_MOE = "deepseek_moe"
    DEEPSEEK_V2 = "deepseek_v2"
    MISTRAL = "mistral"
    MIXTRAL = "mixtral"
    MINICPM = "minicpm"
    MINICPM3 = "minicpm3"
    GEMMA = "gemma"
    COHERE_CHAT = "cohere_chat"
    LLAMA3_CHAT = "llama3_chat"
    PHI3_CHAT = "phi3_chat"
