"""Templates of the library: what they need, how they are filled, and what they may not do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.library.templates import Sandbox, TemplateError, as_plain_text


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as made:
        yield made


def test_a_template_of_jinja_is_filled(sandbox: Sandbox) -> None:
    template = "Teams: {{ teams | join(', ') }}\n{% for one in articles %}- {{ one.title }}\n{% endfor %}"
    filled = sandbox.fill(template, {"teams": ["a", "b"], "articles": [{"title": "<x>"}]})
    assert filled == "Teams: a, b\n- <x>\n"


def test_a_template_says_what_it_needs_and_what_it_can_do_without(sandbox: Sandbox) -> None:
    needs = sandbox.inspect("{{ b }} {{ a | default('x') }} {% for i in c %}{{ i }}{% endfor %}")
    assert needs.variables == ("a", "b", "c")
    assert needs.required == ("b", "c")


def test_a_text_without_jinja_has_the_placeholders_of_prompt_libraries(sandbox: Sandbox) -> None:
    text = "Act as ${role:a guide}. Speak ${language:English}, on ${your topic}. ${a.b} ${x//y/z} $5 {z}"
    needs = sandbox.inspect(text)
    assert needs.variables == ("role", "language", "your topic")
    assert needs.required == ("your topic",)
    filled = sandbox.fill(text, {"language": "Czech", "your topic": "tea ${role}"})
    assert filled == "Act as a guide. Speak Czech, on tea ${role}. ${a.b} ${x//y/z} $5 {z}"


@pytest.mark.parametrize("template", ["{{ topic }}", "${topic}"])
def test_a_value_that_is_missing_is_refused_by_its_name(sandbox: Sandbox, template: str) -> None:
    with pytest.raises(TemplateError, match="topic"):
        sandbox.fill(template, {})


def test_a_gap_stays_visible(sandbox: Sandbox) -> None:
    template = "{{ a | upper }} {{ teams | join(', ') }} {% for one in teams %}- {{ one }}{% endfor %}"
    assert sandbox.fill(template, {"a": "x"}, gaps=["teams"]) == "X {{ teams }} - {{ teams }}"
    assert sandbox.fill("${a} ${b}", {"a": "x"}, gaps=["b"]) == "x ${b}"


def test_a_text_is_one_item_where_a_list_is_expected(sandbox: Sandbox) -> None:
    template = "{% for one in answers %}- {{ one }}\n{% endfor %}{{ answers | join('/') }}"
    assert sandbox.fill(template, {"answers": "all well"}) == "- all well\nall well"
    assert sandbox.fill(template, {"answers": ["a", "b"]}) == "- a\n- b\na/b"


def test_a_value_is_never_taken_for_a_template(sandbox: Sandbox) -> None:
    assert sandbox.fill("{{ text }}", {"text": "{{ 7 * 7 }}{% raw %}"}) == "{{ 7 * 7 }}{% raw %}"


@pytest.mark.parametrize(
    "text", ["a {{ b", "{% if x %}\n", "{# c", "\n{{ x }}\n", "${{ secrets.KEY }}", "{% raw %}{{ x }"]
)
def test_what_only_looks_like_jinja_can_be_kept_as_it_is(sandbox: Sandbox, text: str) -> None:
    assert sandbox.fill(as_plain_text(text), {}) == text


ATTACKS = {
    # attributes that lead to Python's own insides
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class by item": "{{ ''['__class__'] }}",
    "class by attr": "{{ '' | attr('__class__') }}",
    "class by map": "{{ [''] | map(attribute='__class__') | join }}",
    "format": "{{ '{0.__class__}'.format(text) }}",
    "format by attr": "{{ ('{0.__class__}' | attr('format'))(text) }}",
    "format_map": "{{ '{a.__class__}'.format_map({'a': text}) }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m.__globals__ }}",
    "the environment": "{{ self.__init__.__globals__ }}",
    "a generator's frame": "{{ (text | map('upper')).gi_frame.f_globals }}",
    "jinja's own globals": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "lipsum": "{{ lipsum.__globals__ }}",
    "import": "{% import 'os' as os %}",
    "include": "{% include '/etc/passwd' %}",
    "extends": "{% extends text %}",
    "config": "{{ config }}",
    "changing what it was given": "{{ values.append(1) }}",
    # time
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a power": "{{ n ** (n ** n) }}",
    "a power that is folded when it is parsed": "{{ 9 ** (9 ** 9) }}",
    "recursion": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "a loop without end": "{% macro m(n) %}{% for i in range(99) %}{{ m(n + 1) if n < 9 else '' }}"
    "{% endfor %}{% endmacro %}{{ m(0) }}",
    # memory and room
    "a long string": "{{ 'x' * 10 ** 10 }}",
    "a string that grows": "{% set ns = namespace(x='xxxxxxxxxx') %}{% for i in range(60) %}"
    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "a wide field": "{{ '%2000000000d' | format(1) }}",
    "a wide field of str.format": "{{ '{:2000000000}'.format(1) }}",
    "a centred text": "{{ 'x' | center(2000000000) }}",
    "a large range": "{{ range(10 ** 9) | list }}",
    "a long result": "{% for i in range(99999) %}{{ text }}{{ text }}xxxxxxxxxxxx{% endfor %}",
    # what breaks the parser
    "brackets": "{{ " + "(" * 20_000 + ")" * 20_000 + " }}",
    "a long chain": "{{ 1" + " + 1" * 20_000 + " }}",
    "ifs": "{% if x is defined %}" * 5_000 + "{% endif %}" * 5_000,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_ends_in_a_clear_refusal(sandbox: Sandbox, attack: str) -> None:
    began = time.monotonic()
    with pytest.raises(TemplateError) as refused:
        print(sandbox.fill(ATTACKS[attack], {"text": "hello", "values": [], "n": 9})[:300])
    assert time.monotonic() - began < 25
    assert refused.value.reason
    # the next one is served as if nothing had been
    assert sandbox.fill("{{ text }}", {"text": "well"}) == "well"


@pytest.mark.parametrize("template", ["{{ a", "{% if %}", "{{ a | nofilter }}", "{{ a is notest }}"])
def test_a_template_that_does_not_parse_is_refused_with_its_line(sandbox: Sandbox, template: str) -> None:
    with pytest.raises(TemplateError, match="line 2"):
        sandbox.inspect("\n" + template)


@pytest.mark.parametrize(
    "template", ["{{ 9 ** (9 ** 9) }}", "{{ " + "(" * 9_000, "{% if x %}" * 5_000 + "{% endif %}" * 5_000]
)
def test_looking_into_a_template_is_bounded_too(sandbox: Sandbox, template: str) -> None:
    with pytest.raises(TemplateError):
        sandbox.inspect(template)


def test_the_process_of_templates_has_no_environment_and_writes_no_file(sandbox: Sandbox) -> None:
    sandbox.inspect("{{ a }}")
    process = sandbox._process
    assert process is not None
    of_process = Path(f"/proc/{process.pid}")
    assert (of_process / "environ").read_bytes() == b""
    assert re.search(r"Max file size +0 ", (of_process / "limits").read_text())
