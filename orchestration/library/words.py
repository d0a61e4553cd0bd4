"""The words that prompts and texts are made of, as PostgreSQL's text search cuts them.

Knows nothing of what they count for.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestration.library.prompts import Prompt
from orchestration.library.tables import Tables

_SEARCHED = 50_000  # characters of a text that its words are taken of: PostgreSQL bounds them too


def weights_by_prompt(tables: Tables, prompts: Iterable[Prompt]) -> dict[str, dict[str, str]]:
    """The words that each prompt speaks of, by its id: lexeme -> the weight of where it stands.

    ``A``: name and display name; ``B``: description, starter, domain, suite, tags; ``D``: the template.
    """
    told: dict[str, dict[str, str]] = {}
    texts = [
        (
            prompt.id,
            _joined(prompt.name, prompt.display_name),
            _joined(
                prompt.description,
                prompt.prompt_starter,
                prompt.domain,
                prompt.suite,
                *prompt.compliance_tags,
            ),
            _joined(prompt.user_prompt_template)[:_SEARCHED],
        )
        for prompt in prompts
    ]
    with tables.reading() as connection:
        for key, lexemes, weights in connection.execute(
            """
            select one.id, array_agg(word.lexeme), array_agg(array_to_string(word.weights, ''))
            from unnest(%s::text[], %s::text[], %s::text[], %s::text[]) as one (id, a, b, d)
            cross join lateral unnest(
                setweight(to_tsvector('english', a), 'A') || setweight(to_tsvector('english', b), 'B')
                || setweight(to_tsvector('english', d), 'D')
            ) as word
            group by one.id
            """,
            [list(column) for column in zip(*texts, strict=True)] or [[], [], [], []],
        ):
            told[key] = {
                lexeme: min(weight) for lexeme, weight in zip(lexemes, weights, strict=True) if weight
            }
    return {key: told.get(key, {}) for key, *_ in texts}


def words_of(tables: Tables, text: str) -> dict[str, str]:
    """A text's words without stop words: lexeme -> the word as it first stood, in lower case."""
    with tables.reading() as connection:
        rows = connection.execute(
            "select lexeme, lower(min(token)) from ts_debug('english', %s) as found,"
            " unnest(found.lexemes) as lexeme group by lexeme",
            [text[:_SEARCHED]],
        ).fetchall()
    return dict(rows)


def _joined(*texts: str | None) -> str:
    # hyphens and underlines join words in names
    return " ".join(text for text in texts if text).replace("_", " ").replace("-", " ")
