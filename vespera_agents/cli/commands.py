"""Every command with its options and its help. Thin: read the arguments, call the module that does the work.

Those modules are imported when their command is called, so that `--help` and the short checks of a plan do not wait
for what they do not use. Neighbours: all of this package; `__main__` runs `app`.
"""

# ruff: noqa: PLC0415 - the late imports are the point; see above.

from __future__ import annotations

import io
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from vespera_agents.cli.callback_commands import callbacks
from vespera_agents.cli.outcomes import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED
from vespera_agents.cli.provider_commands import providers
from vespera_agents.cli.watch_commands import JSON, WATCH_COMMANDS, WORKSPACE

__all__ = ["app", "run_app"]

_STATUSES = "Exit status: 0 done, 1 a task failed, 2 bad input, 130 interrupted."
_FILE = click.Path(path_type=Path)


def run_app() -> int:
    """Carry out the command of the process's arguments and give its exit status."""
    # A terminal or pipe with a small character set shows a question mark rather than a traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        status = app.main(prog_name="vespera", standalone_mode=False)
    except click.ClickException as refusal:
        refusal.show()
        return refusal.exit_code
    except click.Abort as abort:
        return EXIT_INTERRUPTED if isinstance(abort.__cause__, KeyboardInterrupt) else EXIT_FAILED
    return status if isinstance(status, int) else EXIT_DONE


def _say_version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        try:
            click.echo(f"vespera {version('vespera-agents')}")
        except PackageNotFoundError:
            click.echo("vespera (not installed)")
        context.exit()


@click.group(name="vespera", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version and exit.",
)
def app() -> None:
    """Carry out plans with supervised specialists, and serve them to MCP clients."""


@app.command(epilog=_STATUSES)
@click.argument("plan", type=_FILE)
@WORKSPACE
@click.option("--session", metavar="NAME", help="What to call this run's session; the plan's id unless given.")
@click.option("--resume", is_flag=True, help="Go on with an earlier run of that name; what failed is tried again.")
@JSON
@click.option(
    "--concurrency", type=click.IntRange(1, 64), metavar="N", help="Tasks at work at once; the plan's unless given."
)
@click.option("--svg", "picture", type=_FILE, metavar="FILE", hidden=True, help="Write a picture of the run.")
def run(
    plan: Path,
    workspace: Path,
    session: str | None,
    resume: bool,
    as_json: bool,
    concurrency: int | None,
    picture: Path | None,
) -> int:
    """Carry out the plan in the file PLAN.

    Tasks with a command are carried out, in the order of their dependencies and side by side where they have none;
    tasks without one are prepared and wait for an MCP client. The report is written below .vespera/reports.

    Ctrl-C lets what is at work end and begins nothing new; a second Ctrl-C kills it. Either way --resume goes on.
    """
    from vespera_agents.cli.run import RunWish, carry_out
    from vespera_agents.specialists.running import RunOptions

    options = RunOptions(session, resume, concurrency)
    return carry_out(RunWish(plan, workspace, options, as_json, picture))


@app.command(epilog="Exit status: 0 the client has gone or the server was asked to end, 2 bad input.")
@WORKSPACE
@click.option("--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics there, at /metrics.")
@click.option(
    "--tools", default="core", metavar="SET", help="core, full, or names of tools between commas; core unless given."
)
@click.option("--http", metavar="HOST:PORT", help="Serve any number of clients over HTTP, at /mcp; port 0: a free one.")
@click.option("--token-file", type=_FILE, metavar="FILE", help="With --http: let in who bears a token from this file.")
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="With --http: encrypt with this certificate (PEM).")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="With --http: the certificate's key (PEM).")
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="With --http: a name under which clients reach it; may be repeated.",
)
@click.option(
    "--lease-minutes",
    type=click.FloatRange(0.01, 10_080),
    default=60.0,
    metavar="N",
    help="With --http: how long a client that is not heard of keeps its tasks; 60 unless given.",
)
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console", help="How the log is written.")
@click.option(
    "--log-level",
    type=click.Choice(["info", "warning", "error"]),
    default="warning",
    help="From which level on; warning unless given, info tells of every call and every event of supervision.",
)
@click.option("--no-spare", is_flag=True, help="Keep no second process ready: less memory, a second to recover.")
@click.option("--in-process", is_flag=True, help="Serve in this one process: when it dies, so does the connection.")
def serve(
    *,
    workspace: Path,
    metrics: str | None,
    tools: str,
    http: str | None,
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    allowed_hosts: tuple[str, ...],
    lease_minutes: float,
    log_format: str,
    log_level: str,
    no_spare: bool,
    in_process: bool,
) -> int:
    """Serve a workspace to an MCP client over standard input and output, or to many over HTTP.

    An MCP client starts this itself; typed by hand without --http it waits for JSON-RPC lines until its input ends.
    With --http it prints its address on standard error and serves until SIGTERM or Ctrl-C.

    The client talks to a small process that replaces the worker behind it when that dies: calls then take longer, and
    none is lost or carried out twice.
    """
    from vespera_agents.cli.serving import serve_workspace
    from vespera_agents.front.http.wishes import HttpWish
    from vespera_agents.serving.wishes import ServeWish

    if http is None and (token_file or tls_cert or tls_key or allowed_hosts):
        raise click.UsageError("--token-file, --tls-cert, --tls-key and --allowed-host go with --http HOST:PORT.")
    wish = None if http is None else HttpWish(http, token_file, tls_cert, tls_key, allowed_hosts)
    serve_wish = ServeWish(
        workspace,
        metrics,
        tools,
        wish,
        lease_minutes,
        in_process=in_process,
        spare=not no_spare,
        log_format=log_format,
        log_level=log_level,
    )
    return serve_workspace(serve_wish)


@app.command(epilog="Exit status: 0 done, 1 the tool refused, 2 bad input.")
@click.argument("tool", required=False)
@WORKSPACE
@click.option("--arg", "pairs", multiple=True, metavar="KEY=VALUE", help="An argument; repeated, a list.")
@click.option("--args-json", "file", metavar="FILE", help="A JSON object of arguments; - reads standard input.")
@JSON
def call(tool: str | None, workspace: Path, pairs: tuple[str, ...], file: str | None, as_json: bool) -> int:
    """Call a TOOL of the orchestrator; without one they are listed.

    The tools that MCP clients have, `orchestrator_` may be left out. No server needs to run, and one may. What you
    claim is yours across calls, for as long as one comes at least every hour.
    """
    from vespera_agents.cli.call import CallWish, call_tool, list_tools

    if tool is None:
        return list_tools()
    return call_tool(CallWish(tool, workspace, pairs, file, as_json))


@app.group()
def plan() -> None:
    """Look at plans."""


@plan.command(epilog="Exit status: 0 it can be carried out, 1 it cannot as it stands, 2 it is no plan.")
@click.argument("file", type=_FILE)
@JSON
def show(file: Path, as_json: bool) -> int:
    """Show what is understood of the plan or PRP in FILE.

    The tree of tasks, the graph, execution groups, proposed gates, notes on what could not be resolved, and every
    line that found no place. Nothing is executed and nothing is written.
    """
    from vespera_agents.cli.plans import show_plan

    return show_plan(file, as_json=as_json)


@app.command(epilog="Exit status: 0 shown, 2 bad input.")
@WORKSPACE
@click.option("--session", metavar="ID", help="Which session, by id or name; the newest open one unless given.")
@JSON
def status(workspace: Path, session: str | None, as_json: bool) -> int:
    """Show how the work in a workspace stands.

    What is in progress, failed, blocked and by what, and ready. Reads the database and writes nothing; no server needs
    to run.
    """
    from vespera_agents.cli.looking import show_status

    return show_status(workspace, session, as_json=as_json)


@app.command(epilog="Exit status: 0 ended by Ctrl-C or SIGTERM, 2 bad input.")
@WORKSPACE
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=0, metavar="N", help="Of 127.0.0.1; a free one unless given."
)
@click.option("--no-open", is_flag=True, help="Only print the address; open no browser.")
def observe(workspace: Path, port: int, no_open: bool) -> int:
    """Watch a server in a browser: tree, actors, supervision log, tasks and stalls.

    Prints an address that lets one browser in, once. The page goes on with the next server when one has ended. It shows
    no message, prompt, environment or token, and changes nothing.
    """
    from vespera_agents.cli.observing import show_observer

    return show_observer(workspace, port, opens=not no_open)


@app.command(epilog="Exit status: 0 shown, 2 no `vespera serve` runs there.")
@WORKSPACE
@click.option("--server", metavar="ID", help="Which server; any one of the workspace unless given.")
@click.option("--openmetrics", is_flag=True, help="As OpenMetrics, with a trace or a task beside what was timed.")
def metrics(workspace: Path, server: str | None, openmetrics: bool) -> int:
    """Show the metrics of a running server once, as Prometheus would scrape them.

    Asked over the private socket of a `vespera serve`, which needs no --metrics for this.
    """
    from vespera_agents.cli.metrics import show_metrics

    return show_metrics(workspace, server, openmetrics=openmetrics)


@app.command(epilog="Exit status: 0 healthy, 1 degraded, 2 unhealthy, or no server answers.")
@WORKSPACE
@JSON
def health(workspace: Path, as_json: bool) -> int:
    """Show how well every server is that runs on a workspace, measured now.

    The grade, each reason with who is to blame, and what was done about it. The worst server decides the exit status.
    """
    from vespera_agents.cli.health import show_health

    return show_health(workspace, as_json=as_json)


@app.command(epilog="Exit status: 0 shown, 2 there is no such log, 130 --follow was ended by Ctrl-C.")
@WORKSPACE
@click.option("--server", metavar="ID", help="Which server; the newest one of the workspace unless given.")
@click.option("--list", "listing", is_flag=True, help="List the servers that have left a log, the newest first.")
@click.option(
    "--lines", type=click.IntRange(0, 1_000_000), default=100, metavar="N", help="How many; 100 unless given."
)
@click.option("--follow", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--crashes", is_flag=True, help="Only the processes that died, each with what was printed before it.")
@click.option(
    "--level",
    type=click.Choice(["info", "warning", "error"]),
    default="info",
    help="Only what is as grave as this or graver.",
)
@click.option(
    "--where", multiple=True, metavar="KEY=VALUE", help="Only entries with this value: session=..., task=..., actor=..."
)
def logs(
    *,
    workspace: Path,
    server: str | None,
    listing: bool,
    lines: int,
    follow: bool,
    crashes: bool,
    level: str,
    where: tuple[str, ...],
) -> int:
    """Show what a server has written down: starts, deaths with their tracebacks, restarts, events.

    The log of `vespera serve`, which also lives on after it. It is kept in your state directory. What was written as
    JSON is shown as lines for people.
    """
    from vespera_agents.cli.logs import LogsWish, show_logs

    return show_logs(LogsWish(workspace, server, lines, follow, crashes, listing, level, where))


@app.command(epilog="Exit status: 0 written, 2 there is no such artifact or it cannot be written.")
@click.argument("reference", metavar="ID")
@WORKSPACE
@click.option("--output", type=_FILE, metavar="FILE", help="Write to this file instead of standard output.")
def artifact(reference: str, workspace: Path, output: Path | None) -> int:
    """Write the bytes of an artifact.

    ID is an artifact's id or content hash, or the first letters of one. Binary artifacts are not written to a terminal.
    """
    from vespera_agents.cli.looking import show_artifact

    return show_artifact(workspace, reference, output)


@app.command(epilog="Exit status: 0 clean or the condition holds, 1 findings or it does not, 2 cannot check.")
@click.argument("name", required=False)
@click.argument("arguments", nargs=-1)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="The project; here unless given.",
)
def check(name: str | None, arguments: tuple[str, ...], directory: Path) -> int:
    """Look at one side of a project's readiness for a release.

    NAME is one of the checks; without a NAME they are listed. Plans use these as commands and conditions.
    """
    from vespera_agents.capabilities.checks import CHECKS, run_check

    if name is None:
        for known in CHECKS.values():
            click.echo(f"{known.name:12} {known.arguments:9} {known.summary}")
        return 0
    if name not in CHECKS:
        raise click.BadParameter(f"there is no check {name!r}; these are: {', '.join(CHECKS)}", param_hint="NAME")
    return run_check(name, directory, arguments)


@app.command(epilog="Exit status: 0 trusted, 1 you declined, 2 there is nothing to trust.")
@WORKSPACE
@click.option("--yes", "agreed", is_flag=True, help="Do not ask.")
def trust(workspace: Path, agreed: bool) -> int:
    """Trust the commands that .vespera/config.toml allows MCP clients to cause.

    Shows them and asks. The trust is for exactly this text and is kept in your own state directory, so a repository
    cannot bring it along.
    """
    from vespera_agents.cli.trust import trust_workspace

    return trust_workspace(workspace, agreed=agreed)


for _command in (*WATCH_COMMANDS, callbacks, providers):
    app.add_command(_command)
