"""Every row of the contract, in the order of the tools."""

from __future__ import annotations

from tests.serving.contract import rows_lifecycle, rows_sessions, rows_tasks, rows_upkeep, rows_work
from tests.serving.contract.table import Row

ROWS: tuple[Row, ...] = (
    *rows_sessions.ROWS,
    *rows_tasks.ROWS,
    *rows_work.ROWS,
    *rows_upkeep.ROWS,
    *rows_lifecycle.ROWS,
)
