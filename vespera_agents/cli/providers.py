"""`vespera providers`: which providers of models a workspace has, whether they work, and which a task would go to.

Reads the configuration and the database; only `check --call` asks anybody, through the same limits as all work. No key
is printed, only where it is. Neighbours: `provider_commands` has the options, `providers.models` decides.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import time
import uuid
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Never, final

import click
import trio

from supervisors import SupervisorError
from vespera_agents.cli.outcomes import EXIT_DONE, EXIT_FAILED
from vespera_agents.cli.wording import one_line
from vespera_agents.context.tokens import estimate_tokens
from vespera_agents.providers.choosing import Candidate, Explanation, Policy
from vespera_agents.providers.claude_code.settings import PROGRAM
from vespera_agents.providers.configuration import ModelsSettings
from vespera_agents.providers.errors import ProviderError
from vespera_agents.providers.exchange import Completion, ModelMessage, ModelRequest, Need, Price, Provider
from vespera_agents.providers.models import Models
from vespera_agents.providers.settings import PRESETS, ProviderSettings
from vespera_agents.specialists.models import models_settings, provider_of
from vespera_agents.specialists.roles import load_roles
from vespera_agents.specialists.spending import StoreLedger
from vespera_agents.store import CommandKey, Store, queries
from vespera_agents.store.errors import StoreUnavailable
from vespera_agents.store.spending import SpendingRow, Spent, day_of, spending_rows, spent, usd_text
from vespera_agents.store.visiting import visit
from vespera_agents.store.writer import connect
from vespera_agents.work.errors import InvalidInput, NotFound
from vespera_agents.workspace import Registry, Workspace, open_workspace

__all__ = ["ExplainWish", "check_providers", "explain_choice", "list_providers"]

_AROUND_TOKENS: Final = 4_000
"""What a specialist is sent beside a task's own text: its role, the tools, notes."""
_NONE: Final = (
    "No provider is configured. Set OLLAMA_HOST or a key such as OPENAI_API_KEY, or write [providers] into "
    ".vespera/config.toml; see docs/providers.md."
)
_QUESTION: Final = "Answer with the one word: ready"


@final
@dataclass(frozen=True, slots=True)
class ExplainWish:
    """What `vespera providers explain` was asked for."""

    task: str
    workspace: Path
    policy: str | None
    context_tokens: int | None
    as_json: bool


@final
@dataclass(frozen=True, slots=True)
class _Found:
    """What a check found of one provider."""

    provider: str
    problems: tuple[str, ...]
    said: str
    """What it answered, in short; empty where it was not asked."""


def list_providers(directory: Path, *, as_json: bool) -> int:
    """Print the providers of a workspace, the limits and today's spending; give the exit status.

    Raises:
        WorkspaceError: the directory cannot be a workspace, or its configuration is not valid.
        StoreError: the database cannot be read.
    """
    workspace = open_workspace(directory, make=False)
    settings = models_settings(workspace, Registry())
    today, rows = _spent_today(workspace)
    shown = [(one, _opened(workspace, one)) for one in settings.providers]
    if as_json:
        document = {
            "policy": settings.policy.value,
            "fallback": list(settings.fallback),
            "ignored": settings.ignored,
            "spend_usd_per_session": settings.spend_usd_per_session,
            "spend_usd_per_day": settings.spend_usd_per_day,
            "today_micro_usd": asdict(today) | {"total": today.total},
            "today": [asdict(row) for row in rows],
            "providers": [_described(one, provider) for one, provider in shown],
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return EXIT_DONE
    if settings.ignored is not None:
        click.echo(settings.ignored)
    if not shown:
        click.echo(_NONE)
    for one, provider in shown:
        click.echo(f"{one.name:14} {one.kind.value:17} {one.address or '-'}")
        click.echo(f"{'':14} key: {_key_text(one)}; at once: {one.concurrency}")
        for model in provider.models or ("",):
            click.echo(f"{'':14} {model or '(whatever is asked for)'}: {_price_text(provider, model)}")
    click.echo(_limits_text(settings, today))
    for row in rows:
        name = f"{row.provider}/{row.model}" if row.provider else "calls whose end nobody wrote down"
        click.echo(f"  {one_line(name)}: {row.calls} call{'s' * (row.calls != 1)}, {_row_text(row)}")
    return EXIT_DONE


def check_providers(directory: Path, name: str | None, *, timeout_seconds: float | None, as_json: bool) -> int:
    """Say of each provider whether it can be asked; give the exit status.

    Args:
        directory: the workspace.
        name: which provider; all unless given.
        timeout_seconds: ask each, for so long at most; None: ask nobody.
        as_json: print one JSON document.

    Raises:
        WorkspaceError: the directory cannot be a workspace, or its configuration is not valid.
        NotFound: there is no such provider.
        StoreError: the books cannot be kept.
    """
    workspace = open_workspace(directory, make=timeout_seconds is not None)
    settings = models_settings(workspace, Registry())
    chosen = [one for one in settings.providers if name in {None, one.name}]
    if name is not None and not chosen:
        known = ", ".join(one.name for one in settings.providers) or "none"
        raise NotFound(f"there is no provider {name!r}", f"These are: {known}.")
    found = trio.run(_checked, workspace, settings, chosen, timeout_seconds)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=2))
    elif not found:
        click.echo(_NONE)
    for one in () if as_json else found:
        told = "; ".join(one.problems) or one.said or "ready, as far as can be seen without asking; --call asks"
        click.echo(f"{one.provider:14} {one_line(told)}")
    return EXIT_FAILED if not found or any(one.problems for one in found) else EXIT_DONE


def explain_choice(wish: ExplainWish) -> int:
    """Print which model a task would be given to, and why; give the exit status.

    Raises:
        WorkspaceError: the directory cannot be a workspace, or its configuration is not valid.
        InvalidInput: there is no such policy.
        StoreError: the database cannot be read.
    """
    workspace = open_workspace(wish.workspace, make=False)
    settings = models_settings(workspace, Registry())
    if wish.policy is not None and wish.policy not in set(Policy):
        raise InvalidInput(f"there is no policy {wish.policy!r}", f"Give one of {', '.join(Policy)}.")
    need, told = _need(workspace, wish)

    async def explain() -> Explanation:
        models = Models([_opened(workspace, one) for one in settings.providers], settings)
        await trio.lowlevel.checkpoint()
        return models.explain(need)

    found = trio.run(explain)
    if wish.as_json:
        document = {
            "task": told,
            "context_tokens": need.context_tokens,
            "policy": found.policy.value,
            "why": found.why,
            "candidates": [_weighed(one) for one in found.candidates],
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        click.echo(f"{told}: {need.complexity}, about {need.context_tokens} tokens, policy {found.policy.value}")
        click.echo("\n".join(_explained(found)) or _NONE)
    return EXIT_DONE if found.order else EXIT_FAILED


def _need(workspace: Workspace, wish: ExplainWish) -> tuple[Need, str]:
    """Say what a task needs a model for, and name it."""
    complexity, model, text, told, session = "moderate", None, wish.task, f"'{one_line(wish.task)[:60]}'", None
    if workspace.database.exists():
        with contextlib.suppress(NotFound), _reading(workspace) as connection:
            task = queries.task(connection, wish.task)
            text, told = f"{task.title}\n{task.description}", f"{task.id} ({one_line(task.title)})"
            complexity, session = task.complexity.value, task.session_id
            roles = load_roles(workspace.dot / "roles")
            model = (roles.get(task.specialist) or roles["generic"]).model
    tokens = wish.context_tokens if wish.context_tokens is not None else estimate_tokens(text) + _AROUND_TOKENS
    need = Need(
        purpose="explain",
        session_id=session,
        model=model,
        policy=wish.policy,
        context_tokens=tokens,
        tools=True,
        complexity=complexity,
    )
    return need, told


async def _checked(
    workspace: Workspace, settings: ModelsSettings, chosen: list[ProviderSettings], timeout_seconds: float | None
) -> list[_Found]:
    found: list[_Found] = []
    for one in chosen:
        provider = _opened(workspace, one)
        problems = _problems(one, provider, settings)
        said = ""
        if provider.capabilities("").acts_alone and not problems:
            said = "its program is there; it works on whole tasks only, so nobody asks it for a word"
        elif timeout_seconds is not None and not problems:
            try:
                answer = await visit(workspace, _Asking(provider, settings, timeout_seconds).ask)
                cost = "at an unknown price" if answer.cost_usd is None else f"for ${answer.cost_usd:.6f}"
                said = f"{answer.model} answered {one_line(answer.text)[:40]!r} {cost}"
            except ProviderError as error:
                problems = (str(error),)
        found.append(_Found(one.name, problems, said))
    return found


@final
@dataclass(frozen=True, slots=True)
class _Asking:
    """One word from one provider, within the limits of spending."""

    provider: Provider
    settings: ModelsSettings
    timeout_seconds: float

    async def ask(self, store: Store) -> Completion:
        origin, count = f"check-{uuid.uuid4().hex}", iter(range(1, 100))
        settings = self.settings
        ledger = StoreLedger(
            store,
            lambda: CommandKey(origin, str(next(count))),
            usd_per_session=settings.spend_usd_per_session,
            usd_per_day=settings.spend_usd_per_day,
        )
        models = Models([self.provider], settings, ledger=ledger)
        request = ModelRequest(
            model="",
            system="You are asked whether you can be reached.",
            messages=(ModelMessage("user", _QUESTION),),
            output_tokens_max=64,
            timeout_seconds=self.timeout_seconds,
        )
        try:
            return await models.complete(request, Need(purpose=origin, model=self.provider.name))
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                await models.aclose()


def _opened(workspace: Workspace, one: ProviderSettings) -> Provider:
    """Open a provider; one that is a program is looked at, and not started."""
    return provider_of(workspace, one, guardian=_only_in_a_server, programs=_only_in_a_server)


async def _only_in_a_server() -> Never:
    await trio.lowlevel.checkpoint()
    raise SupervisorError("its program is started by a server, or by `vespera run`")


def _problems(one: ProviderSettings, provider: Provider, settings: ModelsSettings) -> tuple[str, ...]:
    """Say what keeps a provider from being asked, as far as that can be seen without asking."""
    problems: list[str] = []
    if one.key is not None:
        try:
            one.key.read(one.name)
        except ProviderError as error:
            problems.append(str(error))
    if provider.capabilities("").acts_alone:
        program = one.program or PROGRAM
        if shutil.which(program) is None:
            problems.append(f"there is no program {one_line(program)!r}. Install it, or name its path with program")
        # What it costs it says itself.
        return tuple(problems)
    unpriced = [model for model in provider.models or ("",) if _price(provider, model) is None]
    if settings.limited and unpriced and not provider.capabilities(unpriced[0]).local:
        problems.append(
            f"what {', '.join(unpriced) or 'it'} costs is not known, and a limit of spending is set. Give it a price"
        )
    return tuple(problems)


@contextlib.contextmanager
def _reading(workspace: Workspace) -> Generator[sqlite3.Connection]:
    try:
        with contextlib.closing(connect(workspace.database, read_only=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise StoreUnavailable.because(error) from error


def _spent_today(workspace: Workspace) -> tuple[Spent, list[SpendingRow]]:
    if not workspace.database.exists():
        return Spent(0, 0, 0), []
    day = day_of(time.time())
    with _reading(workspace) as connection:
        return spent(connection, day=day), spending_rows(connection, day=day)


def _described(one: ProviderSettings, provider: Provider) -> Mapping[str, object]:
    models = [
        {"model": model, "price": None if (price := _price(provider, model)) is None else asdict(price)}
        for model in provider.models or ("",)
    ]
    return {
        "name": one.name,
        "kind": one.kind.value,
        "address": one.address,
        "key": _key_text(one),
        "concurrency": one.concurrency,
        "models": models,
    }


def _price(provider: Provider, model: str) -> Price | None:
    """Give a price; what runs on a machine of the owner's has one."""
    return provider.price(model) or (Price(0.0, 0.0) if provider.capabilities(model).local else None)


def _price_text(provider: Provider, model: str) -> str:
    price, able = _price(provider, model), provider.capabilities(model)
    size = f"{able.context_tokens_max} tokens"
    if able.acts_alone:
        return f"{size}, works on whole tasks, and says what each has cost"
    if price is None:
        return f"{size}, price unknown"
    if not price.input_usd and not price.output_usd:
        return f"{size}, costs nothing"
    return f"{size}, ${price.input_usd:g} in and ${price.output_usd:g} out for a million"


def _key_text(one: ProviderSettings) -> str:
    if one.key is None:
        return "missing" if PRESETS[one.kind].needs_key else "none needed"
    place = one.key.env or str(one.key.file)
    try:
        one.key.read(one.name)
    except ProviderError:
        return f"in {place}, where there is none"
    return f"in {place}"


def _limits_text(settings: ModelsSettings, today: Spent) -> str:
    def limit(amount: float | None) -> str:
        return "no limit" if amount is None else f"${amount:.2f}"

    doubtful = f", {usd_text(today.doubtful)} of it doubtful" if today.doubtful else ""
    return (
        f"policy {settings.policy.value}; a session may spend: {limit(settings.spend_usd_per_session)}; a day (UTC): "
        f"{limit(settings.spend_usd_per_day)}; today {usd_text(today.total)} is spent or set aside{doubtful}"
    )


def _row_text(row: SpendingRow) -> str:
    if not row.provider:
        return f"{usd_text(row.doubtful_micro_usd)} that may have been paid"
    unknown = f", {row.unpriced} of them at an unknown price" if row.unpriced else ""
    return f"{row.input_tokens} tokens in and {row.output_tokens} out, {usd_text(row.micro_usd)}{unknown}"


def _weighed(one: Candidate) -> Mapping[str, object]:
    facts = one.facts
    return {
        "provider": facts.provider,
        "model": facts.model,
        "points": one.total,
        "scores": asdict(one.scores),
        "cost_usd": one.cost_usd,
        "local": facts.capabilities.local,
        "out": one.out,
    }


def _explained(found: Explanation) -> list[str]:
    if not found.candidates:
        return []
    lines = [found.why] if found.order else ["nobody can be asked"]
    for number, one in enumerate(found.candidates, 1):
        if one.out is not None:
            lines.append(f"   -  {one.name}: out, {one.out}")
            continue
        cost = "unknown" if one.cost_usd is None else f"${one.cost_usd:.4f}"
        scores = ", ".join(f"{name} {value:.2f}" for name, value in asdict(one.scores).items())
        lines.append(f"  {number:2}  {one.name}: {one.total:.2f} points ({scores}), costs {cost}")
    return lines
