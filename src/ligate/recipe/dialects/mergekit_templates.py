"""Chat templates by the names that mergekit knows: the published formats, written out in Jinja."""

from __future__ import annotations

from collections.abc import Mapping

from ligate.core.suggest import nearest
from ligate.recipe.nodes import Item, Reading

AUTO = "auto"
"""The template that most of the models have; known only when the models are open."""

_CHATML = """\
{%- for message in messages -%}
{{ '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
_LLAMA3 = """\
{{- bos_token }}
{%- for message in messages -%}
{{ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\\n\\n' ~ message.content | trim ~ '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif -%}
"""
_EXAONE = """\
{%- if not messages or messages[0].role != 'system' -%}{{ '[|system|][|endofturn|]\\n' }}{%- endif -%}
{%- for message in messages -%}
{{ '[|' ~ message.role ~ '|]' ~ message.content ~ ('\\n' if message.role == 'user' else '[|endofturn|]\\n') }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '[|assistant|]' }}{%- endif -%}
"""
_ALPACA = """\
{%- set heads = {'user': '### Instruction:\\n', 'assistant': '### Response:\\n'} -%}
{%- for message in messages -%}
{{ heads.get(message.role, '') ~ message.content | trim ~ '\\n\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '### Response:\\n' }}{%- endif -%}
"""
_MISTRAL = """\
{{- bos_token }}
{%- set told = namespace(system='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set told.system = message.content ~ '\\n\\n' -%}
{%- elif message.role == 'user' -%}
{{ ' [INST] ' ~ told.system ~ message.content ~ ' [/INST]' }}
{%- set told.system = '' -%}
{%- else -%}
{{ ' ' ~ message.content ~ eos_token }}
{%- endif -%}
{%- endfor -%}
"""

TEMPLATES: Mapping[str, str] = {
    "alpaca": _ALPACA,
    "chatml": _CHATML,
    "exaone": _EXAONE,
    "llama3": _LLAMA3,
    "mistral": _MISTRAL,
}


def template(reading: Reading, item: Item | None) -> str | None:
    """The Jinja text that `chat_template:` names or holds, or `auto`."""
    written = reading.text(item, "`chat_template`")
    if item is None or not written:
        return None
    if written == AUTO or "{" in written:
        return written
    if written not in TEMPLATES:
        text = f"`{written}` is no chat template: neither a known name nor Jinja"
        reading.problem(text, item.place, nearest(written, (AUTO, *TEMPLATES)))
    return TEMPLATES.get(written)
