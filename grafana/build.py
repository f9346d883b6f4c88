"""Write the dashboards as Grafana's JSON: `python -m grafana.build`. The committed files are its output, byte for byte.

They have the classic schema: that is what provisioning from files reads in every Grafana since 8. Not what stands in
them: that is `boards`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

with warnings.catch_warnings():
    # The library would rather have its newer schema, which files for provisioning cannot have yet.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models

from grafana.boards import BOARDS
from grafana.panels import Board, Look, Panel
from grafana.queries import INTERVAL, TARGET, Query

__all__ = ["DASHBOARDS", "again", "built", "main", "restarts_of", "text_of", "texts"]

DASHBOARDS: Final = Path(__file__).parent / "dashboards"
"""Where the files lie."""
TAG: Final = "vespera"
"""By which the dashboards find each other."""
SOURCE: Final = shapes.DataSourceRef(type_val="prometheus", uid="${datasource}")
GRID: Final = 24
SECTION_HEIGHT: Final = 1
_GREEN: Final = "green"


def built(board: Board) -> models.Dashboard:
    """Build one dashboard."""
    made = (
        dashboard.Dashboard(f"Vespera: {board.title}")
        .uid(f"vespera-{board.name}")
        .description(board.about)
        .tags([TAG])
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("10s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_link())
        .annotation(_restarts())
    )
    for variable in _variables():
        made.with_variable(variable)
    identifier, y = 0, 0
    for section in board.sections:
        identifier += 1
        row = dashboard.Row(section.title).id(identifier)
        made.with_row(row.grid_pos(models.GridPos(h=SECTION_HEIGHT, w=GRID, x=0, y=y)))
        y += SECTION_HEIGHT
        x, tallest = 0, 0
        for panel in section.panels:
            if x + panel.width > GRID:
                x, y, tallest = 0, y + tallest, 0
            identifier += 1
            place = models.GridPos(h=panel.height, w=panel.width, x=x, y=y)
            made.with_panel(_panel(panel).id(identifier).grid_pos(place))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return made.build()


def _link() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Vespera")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
        .as_dropdown(False)
    )


def _variables() -> list[Any]:
    any_server = models.VariableOption(text="All", value="$__all", selected=True)
    return [
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .current(models.VariableOption(text="Prometheus", value="prometheus", selected=True)),
        dashboard.QueryVariable("job")
        .label("Job")
        .datasource(SOURCE)
        .query("label_values(vespera_build_info, job)")
        .refresh(models.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .current(models.VariableOption(text="vespera", value="vespera", selected=True)),
        dashboard.QueryVariable("instance")
        .label("Server")
        .datasource(SOURCE)
        .query('label_values(vespera_build_info{job="$job"}, instance)')
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(any_server),
    ]


def restarts_of() -> str:
    """Give the expression that holds while a worker was replaced just now."""
    return f"changes(vespera_start_time_seconds{{{TARGET}}}[{INTERVAL}]) > 0"


def _restarts() -> dashboard.AnnotationQuery:
    """Mark each moment at which a worker was replaced."""
    return (
        dashboard.AnnotationQuery()
        .name("Restarts")
        .datasource(SOURCE)
        .enable(True)
        .icon_color("orange")
        .expr(restarts_of())
        .step("10s")
        .title_format("a worker was replaced")
        .text_format("{{instance}}")
    )


def _panel(panel: Panel) -> Any:
    made = {Look.LINES: _lines, Look.NUMBER: _number, Look.BARS: _bars}[panel.look](panel)
    steps = [models.Threshold(value=None, color=_GREEN)]
    steps += [models.Threshold(value=value, color=colour) for value, colour in panel.limits]
    thresholds = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
    made.title(panel.title).description(panel.about).unit(panel.unit).datasource(SOURCE).min(0).thresholds(thresholds)
    if panel.top is not None:
        made.max(panel.top)
    if panel.mappings:
        words = {
            value: models.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, text, colour) in enumerate(panel.mappings)
        }
        made.mappings([models.ValueMap(options=words)])
    for index, query in enumerate(panel.queries):
        made.with_target(_target(query, chr(ord("A") + index), instant=panel.look is not Look.LINES))
    return made


def _target(query: Query, reference: str, *, instant: bool) -> prometheus.Dataquery:
    asked = prometheus.Dataquery().ref_id(reference).datasource(SOURCE).expr(query.expr).legend_format(query.legend)
    # Buckets carry the ids of tasks and traces; asking for them where there are none costs nothing.
    return asked.instant() if instant else asked.range().exemplar("_bucket{" in query.expr)


def _lines(panel: Panel) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .line_width(1)
        .fill_opacity(25 if panel.stacked else 8)
        .show_points(shapes.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .display_mode(shapes.LegendDisplayMode.LIST)
            .placement(shapes.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
    )
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if panel.limits:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.LINE))
    return made


def _number(panel: Panel) -> stat.Panel:
    # A name is larger news than the 1 that carries it.
    named = "{{" in panel.queries[0].legend
    return (
        stat.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .graph_mode(shapes.BigValueGraphMode.NONE)
        .color_mode(shapes.BigValueColorMode.VALUE)
        .text_mode(shapes.BigValueTextMode.NAME if named else shapes.BigValueTextMode.VALUE)
    )


def _bars(_: Panel) -> bargauge.Panel:
    return (
        bargauge.Panel()
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
    )


def text_of(made: models.Dashboard) -> str:
    """Give the text of a dashboard's file."""
    return json.dumps(made, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def again(text: str) -> str:
    """Read a dashboard's file with Grafana's library and give what it writes."""
    register_default_plugins()
    return text_of(models.Dashboard.from_json(cast("dict[str, Any]", json.loads(text))))


def texts(boards: Sequence[Board] = BOARDS) -> Mapping[str, str]:
    """Give the text of every file by its name."""
    return {f"{board.name}.json": text_of(built(board)) for board in boards}


def main() -> None:
    """Write every file, and remove those of dashboards that are no more."""
    wanted = texts()
    DASHBOARDS.mkdir(exist_ok=True)
    for path in DASHBOARDS.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (DASHBOARDS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
