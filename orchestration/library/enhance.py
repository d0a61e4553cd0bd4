"""The best prompt of the library around a user's text, and why that one.

A prompt that is named is taken. Of an agent's prompts (or of all) the one is taken that fits the text best
and has shown that it succeeds; PostgreSQL's text search cuts texts into words. Knows nothing of how uses
are shown or where figures come from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.errors import PrismError
from orchestration.library.metrics import Figures, PromptFigures
from orchestration.library.prompts import Prompt, closest
from orchestration.library.store import Library
from orchestration.library.templates import Needs, TemplateError
from orchestration.library.words import weights_by_prompt, words_of

LONGEST_TEXT = 200_000  # characters
# What templates call the user's text, the likeliest first.
_TEXT_NAMES = (
    "user_prompt", "user_text", "user_input", "text", "input", "prompt", "message", "question", "request",
    "content",
)  # fmt: skip
# What a word counts where it stands: as in PostgreSQL's weights A, B and D.
_WEIGHTS: Mapping[str, float] = {"A": 1.0, "B": 0.6, "D": 0.3}
# A template of more different words knows every word there is: each counts the less.
_MANY_WORDS = 200
# A prompt that fits as well as another and never succeeds is worth this share of one that always does.
_UNPROVEN = 0.5


@dataclass(frozen=True)
class Candidate:
    """A prompt that might be taken.

    ``fit``: 0 to 1, what share of the text's words it knows, rare words and words in its name counting for
    more; ``words`` are those, the weightiest first. ``missing`` are values that its template needs and
    nobody gave.
    """

    prompt: Prompt
    fit: float
    words: tuple[str, ...]
    figures: PromptFigures
    score: float
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Enhancement:
    """A user's text inside a prompt of the library.

    ``reasons`` say in words why this prompt; ``ranking`` are the candidates, the best first, where there was
    a choice. ``usage_id`` is that of the recorded use, if it was recorded.
    """

    prompt: Prompt
    system_prompt: str | None
    enhanced_prompt: str
    reasons: tuple[str, ...]
    ranking: tuple[Candidate, ...]
    duration_ms: int
    usage_id: str | None = None


class Enhancer:
    """Enhances texts by one library, as it stood when this was made.

    ``figures`` are the marts' for the period that counts as evidence; none where they are not built.
    """

    def __init__(self, library: Library, figures: Figures | None) -> None:
        self._library = library
        self._figures = figures
        self._prompts = library.find()
        self._vectors: dict[str, dict[str, str]] = {}
        self._agents: list[str] | None = None
        self._known_needs: dict[str, Needs] = {}

    def enhance(
        self,
        text: str,
        *,
        prompt: str | None = None,
        agent: str | None = None,
        values: Mapping[str, Any] | None = None,
        text_as: str | None = None,
        keep_gaps: bool = False,
        record: Mapping[str, Any] | None = None,
    ) -> Enhancement:
        """The text inside ``prompt`` (an id or name), else in the best of ``agent``'s, else of all active.

        ``values`` are the template's other variables, ``text_as`` the one that the text becomes where it
        can't be told. With ``keep_gaps`` variables that nobody gave stay visible. ``record`` writes the use:
        its items (``user_id``, ``session_id``, …) go into ``prompt_usage`` beside what is known here; a
        prompt that can't be filled is recorded as a failure.

        Raises :class:`PrismError`: what is not known, what is missing, why a template can't be filled.
        """
        began = time.perf_counter()
        if len(text) > LONGEST_TEXT:
            raise PrismError(
                f"the text has {len(text):,} characters; at most {LONGEST_TEXT:,} are taken", where="enhance"
            )
        given = dict(values or {})
        if agent is not None:
            self._check_agent(agent)
        if prompt is not None:
            chosen, reasons, ranking = self._named(prompt, agent)
        else:
            ranking = self.rank(text, agent=agent, values=given, text_as=text_as)
            # one that can be filled, but has nothing to do with the text, helps nobody
            fillable = [
                one
                for one in ranking
                if (not one.missing or keep_gaps) and (one.fit > 0 or ranking[0].fit == 0)
            ]
            if not fillable:
                needed = [
                    f"{one.prompt.name} needs {', '.join(one.missing)}" for one in ranking if one.missing
                ]
                raise PrismError(
                    "none of the prompts that fit can be filled with what was given",
                    where=f"agent {agent!r}" if agent else self._library.where,
                    mend=f"{'; '.join(needed[:3])}. Give that (--set NAME=VALUE), or --keep-gaps.",
                )
            chosen = fillable[0].prompt
            reasons = self._reasons(fillable[0], ranking, agent)
        error: PrismError | None = None
        try:
            enhanced = self._fill(chosen, text, given, text_as, keep_gaps)
        except PrismError as raised:
            enhanced, error = "", raised
        took = round((time.perf_counter() - began) * 1000)
        usage_id = None
        if record is not None:
            usage_id = self._library.record_use(
                {
                    "prompt_id": chosen.id,
                    "prompt_version": chosen.version,
                    "agent": agent,
                    "user_prompt": text,
                    "enhanced_prompt": enhanced or None,
                    "response_time_ms": took,
                    "success": error is None,
                    "error_type": None if error is None else "enhancement_failed",
                    **record,
                }
            )
        if error is not None:
            raise error
        return Enhancement(chosen, chosen.system_prompt, enhanced, reasons, ranking, took, usage_id)

    def rank(
        self,
        text: str,
        *,
        agent: str | None = None,
        values: Mapping[str, Any] | None = None,
        text_as: str | None = None,
    ) -> tuple[Candidate, ...]:
        """The active prompts (of an agent) by fit and by evidence, the best first.

        ``score = fit / best fit * (0.5 + 0.5 * success_rate_low)``; where no word of the text is in any of
        them, fit counts as equal. Raises :class:`PrismError` where there is no active prompt to choose from.
        """
        wanted = [
            one for one in self._prompts if one.status == "active" and (agent is None or agent in one.agents)
        ]
        if not wanted:
            raise PrismError(
                "no active prompt is mapped to it" if agent else "the library has no active prompt",
                where=f"agent {agent!r}" if agent else self._library.where,
                mend="Map one: prism prompts map PROMPT --agent AGENT; or make a draft active.",
            )
        fits = self._fits(text, wanted)
        best = max(fit for fit, _ in fits.values())
        given = set(values or ())
        ranked = []
        for one in wanted:
            fit, words = fits[one.id]
            figures = self._figures.of(one) if self._figures else PromptFigures()
            evidence = _UNPROVEN + (1 - _UNPROVEN) * (figures.success_rate_low or 0.0)
            score = (fit / best if best else 1.0) * evidence
            ranked.append(Candidate(one, fit, words, figures, score, self._missing(one, given, text_as)))
        return tuple(sorted(ranked, key=lambda one: (-one.score, one.prompt.name)))

    # -- inside

    def _check_agent(self, agent: str) -> None:
        if self._agents is None:
            self._agents = self._library.agents()
        if agent not in self._agents:
            raise PrismError(
                f"there is no agent {agent!r}",
                where=self._library.where,
                mend=closest(agent, self._agents) or None,
            )

    def _named(self, key: str, agent: str | None) -> tuple[Prompt, tuple[str, ...], tuple[Candidate, ...]]:
        found = [one for one in self._prompts if key in (one.id, one.name)]
        prompt = found[0] if found else self._library.get(key)
        reasons = ["it was asked for by name"]
        if agent is not None and agent not in prompt.agents:
            reasons.append(f"it is not mapped to {agent}")
        if prompt.status != "active":
            reasons.append(f"its status is {prompt.status}")
        if self._figures is not None:
            reasons.append(self._evidence(self._figures.of(prompt)))
        return prompt, tuple(reasons), ()

    def _reasons(self, chosen: Candidate, ranking: Sequence[Candidate], agent: str | None) -> tuple[str, ...]:
        of = f"of the {len(ranking)} active prompts" + (f" of {agent}" if agent else "")
        place = ranking.index(chosen)
        if len(ranking) == 1:
            reasons = ["it is the only active prompt" + (f" of {agent}" if agent else "")]
        elif place == 0:
            reasons = [f"it ranks first {of}"]
        else:
            before = "; ".join(f"{one.prompt.name} ({', '.join(one.missing)})" for one in ranking[:place])
            reasons = [f"it ranks {place + 1} {of}: those before it need what was not given: {before}"]
        if chosen.words:
            reasons.append(f"it speaks of {', '.join(chosen.words[:6])} (fit {chosen.fit:.2f})")
        elif len(ranking) > 1:
            reasons.append("none of the text's words is in any of them, so success alone decides")
        reasons.append(self._evidence(chosen.figures))
        return tuple(reasons)

    def _evidence(self, figures: PromptFigures) -> str:
        if self._figures is None:
            return "nothing is known of its success: the marts are not built yet"
        when = f"in the {self._figures.period} to {self._figures.as_of_date}"
        if figures.success_rate_low is None:
            return f"nothing is known of its success {when}"
        return (
            f"it succeeds in at least {figures.success_rate_low:.0%} of its uses "
            f"({figures.success_count:,} of {figures.outcome_count:,} {when})"
        )

    def _fits(self, text: str, prompts: Sequence[Prompt]) -> dict[str, tuple[float, tuple[str, ...]]]:
        """Each prompt's fit to a text, and the text's words that it knows."""
        new = [one for one in prompts if one.id not in self._vectors]
        self._vectors.update(weights_by_prompt(self._library.tables, new))
        vectors = {one.id: self._vectors[one.id] for one in prompts}
        words = words_of(self._library.tables, text)
        rarity = {}
        for lexeme in words:
            knowing = sum(lexeme in vector for vector in vectors.values())
            if knowing:
                rarity[lexeme] = math.log(1 + len(prompts) / knowing)
        whole = sum(rarity.values())
        fits = {}
        for key, vector in vectors.items():
            length = min(1.0, _MANY_WORDS / max(1, len(vector)))
            known = {
                one: rarity[one] * _WEIGHTS[vector[one]] * (length if vector[one] == "D" else 1.0)
                for one in rarity
                if one in vector
            }
            first = sorted(known, key=lambda one: (-known[one], one))
            fits[key] = (sum(known.values()) / whole if whole else 0.0, tuple(words[one] for one in first))
        return fits

    def _needs(self, prompt: Prompt) -> Needs:
        if prompt.id not in self._known_needs:
            try:
                needs = self._library.sandbox.inspect(prompt.user_prompt_template or "")
            except TemplateError as error:
                raise _unfillable(prompt, error) from None
            self._known_needs[prompt.id] = needs
        return self._known_needs[prompt.id]

    def _missing(self, prompt: Prompt, given: set[str], text_as: str | None) -> tuple[str, ...]:
        try:
            needs = self._needs(prompt)
        except PrismError:
            return ("a template that parses",)
        stands = _text_variable(needs, given, text_as)
        return tuple(name for name in needs.required if name not in given and name != stands)

    def _fill(
        self, prompt: Prompt, text: str, given: dict[str, Any], text_as: str | None, keep_gaps: bool
    ) -> str:
        template = prompt.user_prompt_template
        if not template:
            return f"{prompt.prompt_starter or ''}{text}"
        needs = self._needs(prompt)
        stands = _text_variable(needs, set(given), text_as)
        if text_as is not None and text_as not in needs.variables:
            raise PrismError(
                f"its template has no variable {text_as!r}",
                where=f"prompt {prompt.name!r}",
                mend=f"It has: {', '.join(needs.variables) or 'none'}.",
            )
        values = {**({stands: text} if stands else {}), **given}
        gaps = [name for name in needs.required if name not in values]
        if gaps and not keep_gaps:
            raise PrismError(
                f"its template needs values that were not given: {', '.join(gaps)}",
                where=f"prompt {prompt.name!r}",
                mend="Give them (--set NAME=VALUE), say which of them the text is (--text-as NAME), or keep "
                "gaps (--keep-gaps).",
            )
        try:
            filled = self._library.sandbox.fill(template, values, gaps=gaps)
        except TemplateError as error:
            raise _unfillable(prompt, error) from None
        # a template without a place for the text goes before it
        return filled if stands or not text else f"{filled.rstrip()}\n\n{text}"


def _text_variable(needs: Needs, given: set[str], text_as: str | None) -> str | None:
    """The variable that the user's text becomes; none where the template has no place for it, or several."""
    if text_as is not None:
        return text_as
    open_names = [name for name in needs.variables if name not in given]
    required = [name for name in needs.required if name not in given]
    for name in _TEXT_NAMES:
        if name in open_names:
            return name
    ending = [name for name in required if name.endswith("_text")]
    for choice in (required, ending):
        if len(choice) == 1:
            return choice[0]
    return None


def _unfillable(prompt: Prompt, error: TemplateError) -> PrismError:
    return PrismError(
        f"its template can't be filled: {error.reason}",
        where=f"prompt {prompt.name!r}",
        mend="Mend the template: prism prompts edit; or the values.",
    )
