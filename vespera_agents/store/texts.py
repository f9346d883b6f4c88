"""Finding tasks by words: what a caller writes as a query of the full-text index, and its answer.

The index learns what was written a moment after the commit; what it has not learned yet is looked up beside it, so an
answer is as true as the rows. Neighbours: `derived` has the index, `pages` asks here.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import sqlite3
from typing import Final, final

from vespera_agents.store.derived import UNLEARNED, WORDS_SCRIPT, spaced_words
from vespera_agents.work.errors import InvalidInput

__all__ = ["TEXT_WORDS_MAX", "TextSearch", "match_of"]

TEXT_WORDS_MAX: Final = 32
"""Words in the text that is looked for."""


@final
class TextSearch:
    """The tasks in which a text is found, in the order of their creation."""

    def __init__(self, connection: sqlite3.Connection, text: str) -> None:
        """Prepare a search.

        Raises:
            InvalidInput: the text has too many words.
        """
        self._execute = connection.execute
        self.match: Final = match_of(text)
        """The query of the index; empty where the text holds no word, and then nothing is found."""
        self._reworded: list[int] = []
        """Of these the index knows words that they no longer have."""
        self._fresh: list[int] = []
        """Those that it has not learned which have the text."""
        if self.match:
            self._reworded = [row[0] for row in self._execute("SELECT seq FROM task_reworded").fetchall()]
            self._fresh = self._unlearned()

    def first(self, low: int, high: int, most: int) -> list[int]:
        """Give the first tasks after `low` up to `high` with the text."""
        rows = self._execute(
            "SELECT rowid FROM task_words WHERE task_words MATCH ? AND rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?",
            (self.match, low, high, most + len(self._reworded)),
        )
        found = [row[0] for row in rows.fetchall()]
        return self._merged(found, [seq for seq in self._fresh if low < seq <= high])[:most]

    def among(self, seqs: list[int]) -> list[int]:
        """Give those of the tasks that have the text."""
        if not seqs:
            return seqs
        rows = self._execute(
            "SELECT rowid FROM task_words WHERE task_words MATCH ? AND rowid IN (SELECT value FROM json_each(?))",
            (self.match, json.dumps(seqs)),
        )
        found = sorted(row[0] for row in rows.fetchall())
        return self._merged(found, sorted(set(seqs) & set(self._fresh)))

    def _merged(self, found: list[int], fresh: list[int]) -> list[int]:
        if not self._reworded and not fresh:
            return found
        known = set(self._reworded)
        return list(heapq.merge((seq for seq in found if seq not in known), fresh))

    def _unlearned(self) -> list[int]:
        """Give those of the tasks that the index has not learned which have the text, by an index of these few."""
        texts = self._execute(
            f"SELECT seq, words(title), words(description), words(summary) FROM task WHERE seq IN ({UNLEARNED})"
        ).fetchall()
        if not texts:
            return []
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as few:
            few.executescript(WORDS_SCRIPT)
            few.execute("BEGIN")
            few.executemany("INSERT INTO task_words(rowid, title, description, summary) VALUES (?,?,?,?)", texts)
            rows = few.execute("SELECT rowid FROM task_words WHERE task_words MATCH ? ORDER BY rowid", (self.match,))
            return list(itertools.chain.from_iterable(rows.fetchall()))


def match_of(text: str) -> str:
    """Turn what a caller looks for into a query of the full-text index; empty where it holds no word.

    Each piece between spaces is a phrase: words that follow each other. Nothing in it is syntax, except that a piece
    which ends in * stands for everything that begins so.

    Raises:
        InvalidInput: it has more than TEXT_WORDS_MAX pieces.
    """
    # What cannot be written as UTF-8 stands in no task.
    pieces = dict.fromkeys(text.replace("\0", " ").encode("utf-8", "replace").decode().split())
    if len(pieces) > TEXT_WORDS_MAX:
        raise InvalidInput(
            f"the text to look for has {len(pieces)} words, {TEXT_WORDS_MAX} are allowed", "Give the most telling ones."
        )
    phrases: list[str] = []
    for piece in pieces:
        words = spaced_words(piece.rstrip("*").replace('"', " "))
        if any(letter.isalnum() for letter in words):
            begins = piece.endswith("*") and words[-1:].isalnum()
            phrases.append(f'"{words}"*' if begins else f'"{words}"')
    return " ".join(phrases)
