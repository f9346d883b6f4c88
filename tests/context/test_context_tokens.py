"""Tokens are counted exactly, without a network, and only by who asks for a count."""

from __future__ import annotations

import base64
import hashlib
import lzma
import subprocess
import sys
from importlib.resources import files

import pytest

from vespera_agents.context import tokens
from vespera_agents.context.tokens import count_tokens

PUBLISHED_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
"""Of o200k_base.tiktoken, which the library itself checks when it fetches that file."""
COUNTS = {
    "": 0,
    "hello world": 2,
    "tiktoken is great!": 6,
    "<|endoftext|>": 7,
    "お誕生日おめでとう": 8,
    "\n\n\n": 1,
    "1234567": 3,
}
"""The second, third and fifth are examples of the library's own documents and of its users' guides."""


@pytest.mark.parametrize("text", COUNTS)
def test_a_count_is_what_the_vocabulary_says(text: str) -> None:
    assert count_tokens(text) == COUNTS[text]


def test_the_vocabulary_is_the_published_one() -> None:
    ranks = tokens._ranks(lzma.decompress(files("vespera_agents.context").joinpath("o200k_base.xz").read_bytes()))
    lines = b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ranks.items())
    assert len(ranks) == 199_998
    assert hashlib.sha256(lines).hexdigest() == PUBLISHED_SHA256


def test_a_text_that_is_no_unicode_is_counted_too() -> None:
    assert count_tokens("\ud800 and more") > 2


def test_a_damaged_vocabulary_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_SHA256", "0" * 64)
    tokens._encoding.cache_clear()
    try:
        with pytest.raises(OSError, match="install the package again"):
            count_tokens("x")
    finally:
        tokens._encoding.cache_clear()


def test_who_counts_nothing_loads_nothing() -> None:
    program = (
        "import sys, vespera_agents.context, vespera_agents.serving.serve\n"
        "budget = vespera_agents.context.ContextBudget(100_000)\n"
        "budget.add('Your task', 'word ' * 14_000)\n"
        "assert not budget.wants_compaction() and not budget.assemble().exact\n"
        "vespera_agents.context.estimate_tokens('x')\n"
        "print([name for name in ('tiktoken', 'regex', 'requests') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n", done.stderr
