"""A prompt as a YAML document: what is written is what is read, and a diff of it can be reviewed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestration.errors import PrismError
from orchestration.library.documents import file_name, read_document, write_document
from orchestration.library.names import numbered
from orchestration.library.prompts import FIELDS, Prompt, with_fields

# all that PostgreSQL can keep
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))


@given(texts | st.lists(texts, min_size=1).map("\n".join))
@example("\n")
@example(" leading\n  and trailing \n\n")
@example("\ttab\nend\t\n")
@example("a\r\nb")
@example("no: yaml\n--- \n...\n# x\n")
@example("x\x1fy\nz\x85\u2028\ufeff\n")
@example("yes")
@example("2024-01-01")
@example("~")
@example("\n \n")
def test_any_text_comes_back_as_it_was(text: str) -> None:
    fields = {"name": text, "compliance_tags": (text,), "suite": None, "system_prompt": text}
    assert read_document(write_document(fields, ["system_prompt"]), "x") == fields


def test_a_text_of_several_lines_is_a_literal_block_also_with_odd_spaces() -> None:
    text = "# Title \n\n\tdo: {{ x }}\n    - 'y'  \n\n"
    document = write_document({"system_prompt": text, "name": "n"})
    assert document == "system_prompt: |+\n  # Title \n\n  \tdo: {{ x }}\n      - 'y'  \n\nname: n\n"


def test_the_texts_of_a_prompt_are_blocks_even_if_they_have_one_line() -> None:
    document = Prompt(name="n", description="One line. ", system_prompt="One line. ").document()
    assert "\ndescription: 'One line. '\n" in document
    assert "\nsystem_prompt: |-\n  One line. \n" in document


def test_a_document_holds_every_field_in_a_fixed_order() -> None:
    document = Prompt(name="n", agents=("b", "a")).document()
    assert [line.split(":")[0] for line in document.splitlines() if not line.startswith(" ")] == [
        "id",
        *FIELDS,
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("name: x\nname: y", "stands twice"),
        ("name: 1", "name: this is not text"),
        ("name: no", "needs? quotes"),
        ("name: {a: b}", "not text"),
        ("- x", "keys with values"),
        ("<<<<<<< HEAD\nname: x", "not a document"),
        ("name: !!python/object/apply:os.system [id]", "not a document"),
        ("a: &a [x]\nb: [*a, *a]", "not text"),
        ("name: [" + "[" * 5000, "not a document"),
    ],
)
def test_what_is_no_prompt_is_refused_with_its_place(text: str, fault: str) -> None:
    with pytest.raises(PrismError, match=fault) as refused:
        read_document(text, "a.yaml")
    assert refused.value.where == "a.yaml"


def test_the_name_of_a_file_is_made_of_the_prompts_name_alone_and_fits_every_file_system() -> None:
    assert file_name("ticket-triage") == "ticket-triage.yaml"
    odd = [
        "Harry Potter / The Map: 1", "自动写作", "..", "../../etc/passwd", "con", "Ticket-triage",
        "ticket-triage ", "x" * 300, "a\nb", "-", "Ärger",
    ]  # fmt: skip
    names = [file_name(name) for name in odd]
    assert len({name.lower() for name in [*names, "ticket-triage.yaml"]}) == len(odd) + 1
    for name in names:
        assert len(name) < 100
        assert not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789-.")
        assert name.count(".") in (1, 2)
        assert not name.startswith((".", "-"))
        assert name.split(".")[0] != "con" or name.count(".") == 2


def test_a_repeated_name_is_numbered_past_names_that_are_taken() -> None:
    names, shown = numbered(["a", "a (2)", "a", "a", "b"], [None, None, "A", None, None])
    assert names == ["a", "a (2)", "a (3)", "a (4)", "b"]
    assert shown == [None, None, "A", "a", None]


def test_a_prompts_revision_is_of_its_content_alone() -> None:
    prompt = Prompt(name="n", id="1")
    assert with_fields(prompt, {"domain": "x"}).revision != prompt.revision
    assert Prompt(name="n", id="2", version=7).revision == prompt.revision
