"""How a prompt template becomes the Jinja text that apply_chat_template runs, turn for turn as in training.

A single image stands in front of its turn's words, several stay between them, as rows of training data are read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

__all__ = ["ChatStyle"]

_JINJA = """\
{%- set ns = namespace(round=0, begun=false) -%}
{%- for message in messages -%}
{%- if message['content'] is string -%}
{%- set text = message['content'] -%}
{%- else -%}
{%- set images = message['content'] | selectattr('type', 'equalto', 'image') | list -%}
{%- set words = message['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join('') -%}
{%- set text = ('<image>\\n' * (images | length)) + words -%}
{%- if images | length > 1 -%}
{%- set ns.parts = '' -%}
{%- for part in message['content'] -%}
{%- set ns.parts = ns.parts + ('<image>\\n' if part['type'] == 'image' else part['text']) -%}
{%- endfor -%}
{%- set text = ns.parts | trim -%}
{%- endif -%}
{%- endif -%}
{%- if message['role'] == 'assistant' -%}
{{- text + SUFFIX -}}
{%- if not loop.last %}{{- SEPARATOR -}}{% endif -%}
{%- set ns.begun = BOS_ONCE -%}
{%- else -%}
{%- if not ns.begun %}{{- bos_token or '' -}}{% set ns.begun = true %}{% endif -%}
{%- if message['role'] == 'system' -%}
{{- SYSTEM_BEFORE + text + SYSTEM_AFTER -}}
{%- else -%}
{%- set ns.round = ns.round + 1 -%}
{{- INSTRUCTION -}}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
"""


@dataclass(frozen=True)
class ChatStyle:
    """How turns are written down: texts with `{input}`, `{round}` and `{system}`, and what closes an answer.

    suffix_is_eos: the suffix ends a text and BOS stands once; otherwise EOS closes each answer, BOS opens each turn.
    """

    instruction: str
    system: str
    suffix: str
    separator: str
    suffix_is_eos: bool

    def to_jinja(self) -> str:
        """Write the template for apply_chat_template."""
        before, _, after = (self.system or "{system}").partition("{system}")
        suffix = json.dumps(self.suffix) + ("" if self.suffix_is_eos else " + (eos_token or '')")
        words = {
            "SYSTEM_BEFORE": json.dumps(before),
            "SYSTEM_AFTER": json.dumps(after),
            "INSTRUCTION": _filled(self.instruction),
            "SUFFIX": suffix,
            "SEPARATOR": json.dumps(self.separator),
            "BOS_ONCE": "true" if self.suffix_is_eos else "false",
        }
        text = _JINJA
        for word, expression in words.items():
            text = text.replace(word, expression)
        return text


def _filled(instruction: str) -> str:
    """Turn "USER: {input} {round}" into a Jinja expression that joins constants and variables."""
    expression = json.dumps(instruction).replace("{input}", '" + text + "')
    return expression.replace("{round}", '" + ns.round | string + "')
