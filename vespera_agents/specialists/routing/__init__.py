"""Who should do a task when nobody is named: evidence from its words, its type, and what came of earlier choices.

words        texts as stems
lexicon      the words that speak for the packaged roles, as data
suggesting   evidence weighed: a role, how sure, why, and who else
learning     what was learned from choices that somebody corrected
choosing     the same for a workspace: its roles, its corrections, its work in hand
"""

__all__: list[str] = []
