"""Keeping sessions and workspaces in order: the facade's fourth set of tools and what it does.

tools        clean up sessions, maintain a workspace; answers is what they give
cleaning     sessions put away
maintenance  what is left over in a workspace, and whether it holds together
documents    status documents for people
handover     what is written for whoever goes on
"""

__all__: list[str] = []
