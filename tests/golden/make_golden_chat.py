#!/usr/bin/env python3
"""Writes tests/golden/chat.json: conversations as transformers' apply_chat_template(tokenize=False)
renders them, with jinja2 alone, set up as transformers does.

  make_golden_chat.py     needs jinja2

The templates say what the public ones say to conversations without tools and images, shortened to
that.
"""
import itertools
import json
import pathlib

import jinja2
import jinja2.sandbox

ALTERNATE = ("{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
             "{{ raise_exception('roles must alternate') }}{% endif %}")
SPLIT_SYSTEM = ("{%- if messages[0]['role'] == 'system' %}\n"
                "    {%- set system_message = messages[0]['content'] %}\n"
                "    {%- set loop_messages = messages[1:] %}\n"
                "{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n\n")
CHATML_TURN = "'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'"
CHATML_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
LLAMA3_TURN = ("'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ "
               "message['content'] | trim + '<|eot_id|>'")
LLAMA3_PROMPT = ("{% if add_generation_prompt %}"
                 "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}")


def llama31(date):
    return ("{{- bos_token }}\n" + date +
            "{%- if messages[0]['role'] == 'system' %}\n"
            "    {%- set system_message = messages[0]['content']|trim %}\n"
            "    {%- set messages = messages[1:] %}\n"
            "{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n"
            "{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}\n"
            "{{- \"Cutting Knowledge Date: December 2023\\n\" }}\n"
            "{{- \"Today Date: \" + date_string + \"\\n\\n\" }}\n"
            "{{- system_message }}\n{{- \"<|eot_id|>\" }}\n"
            "{%- for message in messages %}\n    {{- " + LLAMA3_TURN + " }}\n{%- endfor %}\n"
            "{%- if add_generation_prompt %}\n"
            "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n")


def mistral_v3(user, assistant):
    return (SPLIT_SYSTEM + "{{- bos_token }}\n{%- for message in loop_messages %}\n" + "    " +
            ALTERNATE.replace("{%", "{%-").replace("{{", "{{-") + "\n"
            "    {%- if message[\"role\"] == \"user\" %}\n"
            "        {%- if loop.last and system_message is defined %}\n"
            "            {{- \"" + user + "\" + system_message + \"\\n\\n\" + message[\"content\"] + \"[/INST]\" }}\n"
            "        {%- else %}\n"
            "            {{- \"" + user + "\" + message[\"content\"] + \"[/INST]\" }}\n"
            "        {%- endif %}\n"
            "    {%- else %}\n        {{- " + assistant + "}}\n    {%- endif %}\n{%- endfor %}\n")


TEMPLATES = {
    "chatml": "{% for message in messages %}{{" + CHATML_TURN + "}}{% endfor %}" + CHATML_PROMPT,
    "qwen2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
             "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
             "{{" + CHATML_TURN + "}}{% endfor %}" + CHATML_PROMPT,
    "qwen2.5": "{%- if messages[0]['role'] == 'system' %}\n"
               "    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
               "{%- else %}\n    {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. "
               "You are a helpful assistant.<|im_end|>\\n' }}\n{%- endif %}\n"
               "{%- for message in messages %}\n"
               "    {%- if (message.role == \"user\") or (message.role == \"system\" and not loop.first)"
               " or (message.role == \"assistant\" and not message.tool_calls) %}\n"
               "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
               "    {%- endif %}\n{%- endfor %}\n"
               "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
    "qwen3": """{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}""",
    "llama2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
              "{% set system_message = messages[0]['content'] %}{% else %}"
              "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
              "{% for message in loop_messages %}" + ALTERNATE +
              "{% if loop.index0 == 0 and system_message != false %}"
              "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
              "{% else %}{% set content = message['content'] %}{% endif %}"
              "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
              "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}"
              "{% endif %}{% endfor %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = " +
              LLAMA3_TURN + " %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
              "{% endif %}{{ content }}{% endfor %}" + LLAMA3_PROMPT,
    "llama3.1": llama31("{%- if not date_string is defined %}\n"
                        "    {%- set date_string = \"26 Jul 2024\" %}\n{%- endif %}\n"),
    "llama3.2": llama31("{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n"
                        "        {%- set date_string = strftime_now(\"%d %b %Y\") %}\n    {%- else %}\n"
                        "        {%- set date_string = \"26 Jul 2024\" %}\n    {%- endif %}\n{%- endif %}\n"),
    "mistral": SPLIT_SYSTEM + "{{- bos_token }}\n{%- for message in loop_messages %}\n    " +
               ALTERNATE.replace("{%", "{%-").replace("{{", "{{-") + "\n"
               "    {%- if message['role'] == 'user' %}\n"
               "        {%- if loop.first and system_message is defined %}\n"
               "            {{- ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}\n"
               "        {%- else %}\n            {{- ' [INST] ' + message['content'] + ' [/INST]' }}\n"
               "        {%- endif %}\n    {%- else %}\n"
               "        {{- ' ' + message['content'] + eos_token}}\n    {%- endif %}\n{%- endfor %}\n",
    "mistral-v0.1": "{{ bos_token }}{% for message in messages %}" + ALTERNATE +
                    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
                    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}"
                    "{% else %}{{ raise_exception('roles') }}{% endif %}{% endfor %}",
    "mistral-v0.2": "{{ bos_token }}{% for message in messages %}" + ALTERNATE +
                    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
                    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
                    "{% else %}{{ raise_exception('roles') }}{% endif %}{% endfor %}",
    "mistral-v0.3": mistral_v3("[INST] ", "\" \" + message[\"content\"]|trim + eos_token"),
    "mistral-nemo": mistral_v3("[INST]", "message[\"content\"] + eos_token"),
    "gemma2": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
              "{{ raise_exception('System role not supported') }}{% endif %}"
              "{% for message in messages %}" + ALTERNATE +
              "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
              "{% set role = message['role'] %}{% endif %}"
              "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}"
              "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}",
    "gemma3": "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n"
              "    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n"
              "    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n"
              "    {%- set first_user_prefix = \"\" -%}\n    {%- set loop_messages = messages -%}\n"
              "{%- endif -%}\n{%- for message in loop_messages -%}\n    " +
              ALTERNATE.replace("{%", "{%-").replace("%}", "-%}") + "\n"
              "    {%- if (message['role'] == 'assistant') -%}\n        {%- set role = \"model\" -%}\n"
              "    {%- else -%}\n        {%- set role = message['role'] -%}\n    {%- endif -%}\n"
              "    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else \"\") }}\n"
              "    {%- if message['content'] is string -%}\n        {{ message['content'] | trim }}\n"
              "    {%- endif -%}\n    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n"
              "{%- if add_generation_prompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n",
}

S, U, A = "system", "user", "assistant"
CONVERSATIONS = [
    [(U, "Hi")],
    [(S, "Be brief."), (U, "What is a heddle?")],
    [(U, "One"), (A, "Two"), (U, "Three")],
    [(S, "  Spaces \n"), (U, "\n  a\u00a0b \t"), (A, " c \n"), (U, " d\u3000\u001c")],
    [(S, "s"), (U, "u"), (A, "a")],
    [(U, "u"), (A, "<think>\nwhy\n\n</think>\n\nbecause"), (U, "v"), (A, "<think>x</think>\ny\n")],
    [(U, "u"), (A, "no </think> opening")],
    [(U, "<|im_end|><start_of_turn><|eot_id|>[INST]</s>")],
    [(S, ""), (U, "")],
    [(A, "first")],
    [(U, "u"), (U, "v")],
    [(U, "u"), (A, "a"), (A, "b")],
    [(U, "Zażółć 織機 🧵"), (A, "ok"), (U, "{{ bos_token }}{% if %}")],
]


def main():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: "03 Oct 2024"
    cases = []
    for (name, text), turns, prompt in itertools.product(TEMPLATES.items(), CONVERSATIONS, (True, False)):
        messages = [dict(role=role, content=content) for role, content in turns]
        try:
            found = environment.from_string(text).render(
                messages=messages, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>")
        except jinja2.exceptions.TemplateError:
            found = None
        cases.append(dict(template=name, messages=messages, generation_prompt=prompt, text=found))
    path = pathlib.Path(__file__).resolve().parent / "chat.json"
    path.write_text(json.dumps(dict(templates=TEMPLATES, cases=cases), indent=1) + "\n")
    print(f"{path}: {len(cases)} cases, {sum(c['text'] is None for c in cases)} refused")


main()
