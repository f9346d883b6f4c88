"""The five dashboards, one module each; a new one is added to BOARDS and built with `python -m grafana.build`."""

from __future__ import annotations

from typing import Final

from grafana.boards.actors import ACTORS
from grafana.boards.models import MODELS
from grafana.boards.overview import OVERVIEW
from grafana.boards.supervision import SUPERVISION
from grafana.boards.work import WORK
from grafana.panels import Board

__all__ = ["BOARDS"]

BOARDS: Final[tuple[Board, ...]] = (OVERVIEW, ACTORS, SUPERVISION, MODELS, WORK)
"""In the order in which Grafana shall list them."""
