"""Context budgets: what a specialist is given, counted and kept within its limit.

budget      sections, their limit, what had to go; pure
sections    what a part of a context is, how it is written, in which order parts go
compaction  a context made smaller before anything has to go: copies, links, summaries
cutting     how a part that is too long becomes shorter
sources     what a part of a context was made of
packing     a context on its way to another process, under a checksum
counting    a counter that remembers; it reads the vocabulary at its first count
streaming   the tokens of an answer that is still coming
vendors     how many tokens another vendor counts, learned
tokens      the exact count, the bound and the estimate of one text
pieces      where a text may be cut without changing its count
"""

from vespera_agents.context.budget import Assembly, ContextBudget
from vespera_agents.context.compaction import Compacted, Compaction, compact
from vespera_agents.context.counting import TokenCounter, shared_counter
from vespera_agents.context.sections import Dropped, Section, SectionKind
from vespera_agents.context.sources import Source
from vespera_agents.context.streaming import StreamCounter
from vespera_agents.context.tokens import count_tokens, estimate_tokens, load_vocabulary
from vespera_agents.context.vendors import VendorFactor

__all__ = [
    "Assembly",
    "Compacted",
    "Compaction",
    "ContextBudget",
    "Dropped",
    "Section",
    "SectionKind",
    "Source",
    "StreamCounter",
    "TokenCounter",
    "VendorFactor",
    "compact",
    "count_tokens",
    "estimate_tokens",
    "load_vocabulary",
    "shared_counter",
]
