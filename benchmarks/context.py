"""Contexts: what does counting cost beside bare tiktoken, and putting the same context together once more?

Ours is a `TokenCounter` and a `ContextBudget`; the reference is one `encode_ordinary` of the whole text by the library,
with the same vocabulary, already read. The text is this project's own documents and modules: prose, tables and code.
New text is counted by a counter that knows nothing yet, once in one piece and once in sections of 2,000 characters, as
the steps of an agent come. A warm assembly makes a new budget of 100,000 tokens in 100 sections whose texts were
counted before, as each further step of an agent does, but for one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks.harness import Options, Row, compare
from vespera_agents.context import ContextBudget, SectionKind, TokenCounter, count_tokens, load_vocabulary
from vespera_agents.context.tokens import count_piece

ROOT: Final = Path(__file__).resolve().parent.parent
CHARACTERS: Final = 1_600_000
CONTEXT_TOKENS: Final = 100_000
SECTIONS: Final = 100
SECTION_CHARACTERS: Final = 2_000
AGAIN: Final = 20
"""How often what is remembered is counted in one round: once would be too short to time."""


async def run(options: Options) -> list[Row]:
    """Measure new text, text that is known, and a whole context."""
    load_vocabulary()
    text = a_text(options.scaled(CHARACTERS))
    parts = [text[place : place + SECTION_CHARACTERS] for place in range(0, len(text), SECTION_CHARACTERS)]
    known = TokenCounter()
    known.count(text)
    context = sections_of(a_context())
    warm = TokenCounter()
    whole = assembled(context, warm)
    return [
        await compare(
            "new text",
            unit="tokens/s",
            ours=lambda: rate(TokenCounter().count, [text]),
            reference="bare tiktoken, the whole text in one go",
            measure_reference=lambda: rate(bare, [text]),
            goal=0.8,
            options=options,
            clock="processor",
        ),
        await compare(
            f"new text in sections of {SECTION_CHARACTERS:,} characters",
            unit="tokens/s",
            ours=lambda: rate(TokenCounter().count, parts),
            reference="bare tiktoken, section by section",
            measure_reference=lambda: rate(bare, parts),
            goal=0.8,
            options=options,
            clock="processor",
        ),
        await compare(
            "text that was counted before",
            unit="tokens/s",
            ours=lambda: rate(known.count, [text] * AGAIN),
            reference="bare tiktoken",
            measure_reference=lambda: rate(bare, [text]),
            goal=20,
            options=options,
            clock="processor",
        ),
        await compare(
            f"a warm assembly of {count_tokens(whole):,} tokens in {len(context)} sections",
            unit="contexts/s",
            ours=lambda: contexts(AGAIN, lambda: assembled(context, warm)),
            reference="counting its text afresh with bare tiktoken",
            measure_reference=lambda: contexts(1, lambda: bare(whole)),
            goal=20,
            options=options,
            clock="processor",
        ),
        await compare(
            "a cold assembly of the same",
            unit="contexts/s",
            ours=lambda: contexts(1, lambda: assembled(context, TokenCounter())),
            reference="counting its text afresh with bare tiktoken",
            measure_reference=lambda: contexts(1, lambda: bare(whole)),
            goal=None,
            options=options,
            clock="processor",
        ),
    ]


def a_text(characters: int) -> str:
    """Read so many characters of this project, the same each time."""
    files = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("vespera_agents/**/*.py"), *ROOT.glob("supervisors/**/*.py")])
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    return (text * (1 + characters // len(text)))[:characters]


def a_context() -> str:
    """Read nearly as much as a context of 100,000 tokens holds."""
    text = a_text(CONTEXT_TOKENS * 6)
    # Headings take five tokens each.
    room = CONTEXT_TOKENS - 10 * SECTIONS
    while (found := count_tokens(text)) > room:
        text = text[: min(len(text) - 1, len(text) * room // found)]
    return text


def sections_of(text: str) -> list[str]:
    """Cut a text into sections of equal length."""
    length = len(text) // SECTIONS + 1
    return [text[place : place + length] for place in range(0, len(text), length)]


def assembled(sections: Sequence[str], counter: TokenCounter) -> str:
    """Put a context together, and give its text."""
    budget = ContextBudget(CONTEXT_TOKENS, count=counter.count)
    for number, text in enumerate(sections):
        budget.add(f"Step {number}", text, SectionKind.HISTORY)
    assembly = budget.assemble()
    assert assembly.exact, "it was counted, not estimated"
    assert not assembly.dropped, "all of it fits"
    return assembly.text


def bare(text: str) -> int:
    """Count as whoever has nothing but the library does: `count_piece` is its `encode_ordinary` and no more."""
    return count_piece(text)


def rate(count: Callable[[str], int], texts: Sequence[str]) -> float:
    """Count texts, and give the tokens in a second of the processor."""
    before = time.process_time()
    found = sum(map(count, texts))
    return found / (time.process_time() - before)


def contexts(times: int, make: Callable[[], object]) -> float:
    """Do something so many times, and give how often a second of the processor would do it."""
    before = time.process_time()
    for _ in range(times):
        make()
    return times / (time.process_time() - before)
