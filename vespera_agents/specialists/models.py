"""Which models a workspace has: made when somebody first wants one, and anew when its file or the owner's word changed.

Nothing of `providers` is imported before there is a provider, so a server without one starts as fast as ever. Providers
that come and go by themselves (the client's own model) are added and removed here, so that they outlive a change of
the file. Neighbours: `providers.reading` reads the configuration, `spending` keeps the books, `sessions` has one of it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast, final

import trio

from supervisors import Supervisor, supervisor_spec
from supervisors.errors import ChildNotFound
from supervisors.guardian import Guardian, LateGuardian
from vespera_agents.store import CommandKey, Store
from vespera_agents.workspace import Registry, Workspace, WorkspaceError, load_settings

if TYPE_CHECKING:
    from vespera_agents.providers.circuit import Circuit
    from vespera_agents.providers.client import ClientModel, Lender
    from vespera_agents.providers.configuration import ModelsSettings
    from vespera_agents.providers.exchange import Provider
    from vespera_agents.providers.figures import ModelsFigures
    from vespera_agents.providers.models import Models
    from vespera_agents.providers.settings import ProviderSettings
    from vespera_agents.specialists.spending import TellsOfBudgets

__all__ = ["CLOSE_SECONDS", "PROGRAMS_CHILD", "WorkspaceModels", "models_settings", "provider_of"]

PROGRAMS_CHILD: Final = "programs"
"""The name of the workspace's child below which programs run that are models."""
CLOSE_SECONDS = 2.0
"""How long connections may take to close when a workspace ends."""


def models_settings(
    workspace: Workspace, registry: Registry, environ: Mapping[str, str] | None = None
) -> ModelsSettings:
    """Read which providers a workspace has.

    Raises:
        WorkspaceError: the configuration is not valid.
    """
    from vespera_agents.providers.reading import read_providers  # noqa: PLC0415 - a server that starts needs none

    settings = load_settings(workspace, registry)
    return read_providers(settings.section("providers"), settings.trusted, os.environ if environ is None else environ)


def provider_of(
    workspace: Workspace,
    settings: ProviderSettings,
    *,
    guardian: Callable[[], Awaitable[Guardian]],
    programs: Callable[[], Awaitable[Supervisor]],
) -> Provider:
    """Open a provider that a workspace has configured.

    Args:
        workspace: whose.
        settings: how.
        guardian: gives who kills the processes of one that is a program, should we die.
        programs: gives the supervisor of those processes; raises a SupervisorError while there is none.

    Raises:
        NotConfigured: something that its kind needs is missing.
    """
    from vespera_agents.providers.settings import Kind  # noqa: PLC0415 - imported with the first provider
    from vespera_agents.providers.wire import open_provider  # noqa: PLC0415

    if settings.kind is not Kind.CLAUDE_CODE:
        return open_provider(settings)
    from vespera_agents.providers.claude_code.claude import ClaudeCode  # noqa: PLC0415 - only who has one needs it
    from vespera_agents.providers.claude_code.settings import claude_code_settings  # noqa: PLC0415

    ours = claude_code_settings(settings, workspace.dot / "claude-code" / settings.name, os.environ)
    return ClaudeCode(ours, guardian=guardian, children=programs, environ=os.environ)


_LOOK_SECONDS = 1.0
"""How long the owner's word about the file is not asked for again while the file is as it was."""


@final
class WorkspaceModels:
    """The models of one open workspace."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        key: Callable[[], CommandKey],
        registry: Registry,
        low: TellsOfBudgets | None = None,
    ) -> None:
        """Have none yet.

        Args:
            workspace: whose file says which there are.
            store: where the books are kept.
            key: names a command.
            registry: where it stands whether the owner trusts the file.
            low: tells whoever wants to know that a limit of spending is near.
        """
        self._low = low
        self._workspace = workspace
        self._store = store
        self._key = key
        self._registry = registry
        self._settings: ModelsSettings | None = None
        self._seen: tuple[int, int, int] | None = None
        """What the file looked like when it was read."""
        self._read_at = 0.0
        self._models: Models | None = None
        self._figures: ModelsFigures | None = None
        self._added: dict[str, Provider] = {}
        self._opened: list[Provider] = []
        """Those that were opened here, and have to be closed."""
        self._client: ClientModel | None = None
        self._tree: tuple[Supervisor, LateGuardian] | None = None
        self._starting = trio.Lock()

    @property
    def figures(self) -> ModelsFigures | None:
        """What requests came to so far; None where there was no provider yet. In any thread."""
        return self._figures

    @property
    def circuits(self) -> Mapping[str, Circuit]:
        """The circuit of each provider, as far as they were made; in any thread."""
        models = self._models
        return {} if models is None else models.circuits

    @property
    def made(self) -> Models | None:
        """What was made so far, without making it: for whoever only shows it; in any thread."""
        return self._models

    def models(self) -> Models | None:
        """Give what models are asked through; None where there is no provider. In the event loop.

        Raises:
            WorkspaceError: the configuration is not valid.
        """
        try:
            status = self._workspace.config.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            seen = None
        # Whether somebody can do a task is asked of every task of a plan, and reading takes 0.2 ms.
        now = trio.current_time()
        if self._settings is None or seen != self._seen or now - self._read_at >= _LOOK_SECONDS:
            settings = models_settings(self._workspace, self._registry)
            if settings != self._settings:
                self._models = self._make(settings)
            self._settings, self._seen, self._read_at = settings, seen, now
        return self._models

    def usable(self, session_id: str) -> Models | None:
        """Give what `models_for` gives, and nobody while the configuration is not valid: whoever began heard that."""
        try:
            return self.models_for(session_id)
        except WorkspaceError:
            return None

    def key_variables(self) -> frozenset[str]:
        """Name the variables of the environment that hold keys: no command that a model asks for may see them."""
        from vespera_agents.providers.reading import provider_variables  # noqa: PLC0415 - as in `models_settings`

        configured = () if self._settings is None else self._settings.providers
        named = {one.key.env for one in configured if one.key is not None and one.key.env is not None}
        return frozenset({*provider_variables(), *named})

    def models_for(self, session_id: str) -> Models | None:
        """Give what models are asked through for a session; None where nobody would answer it.

        Raises:
            WorkspaceError: the configuration is not valid.
        """
        models = self.models()
        others = any(one is not self._client for one in self._added.values())
        if models is None or self._settings is None or self._settings.providers or others:
            return models
        return models if self._client is not None and self._client.hindrance(session_id) is None else None

    def add(self, provider: Provider) -> None:
        """Have one more provider from now on."""
        self._added[provider.name] = provider
        if self._models is not None:
            self._models.add(provider)
        else:
            self._settings = None

    def remove(self, name: str) -> None:
        """Have a provider that was added no longer."""
        self._added.pop(name, None)
        if self._models is not None:
            self._models.remove(name)

    def settle(self, supervisor: Supervisor, guardian: LateGuardian) -> None:
        """Say where programs run that are models: below which supervisor, and watched over by whom."""
        self._tree = (supervisor, guardian)

    @contextmanager
    def lent(self, session_id: str, lender: Lender | None) -> Generator[None]:
        """Ask a client for the requests of a session, beside the other providers, while the block lasts."""
        if lender is None:
            yield
            return
        if self._client is None:
            from vespera_agents.providers.client import ClientModel  # noqa: PLC0415 - most clients offer no model

            self._client = ClientModel()
            self.add(self._client)
        with self._client.lent(session_id, lender):
            yield

    async def close(self) -> None:
        """Let go of all connections; bounded, and not cancelled."""
        opened, self._opened = self._opened, []
        self._models = self._settings = None
        if not opened:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_SECONDS):
            for provider in opened:
                await provider.aclose()

    def _make(self, settings: ModelsSettings) -> Models | None:
        if not settings.providers and not self._added:
            return None
        # Imported with the first provider.
        from vespera_agents.providers.errors import NotConfigured  # noqa: PLC0415
        from vespera_agents.providers.models import Models  # noqa: PLC0415
        from vespera_agents.specialists.spending import StoreLedger  # noqa: PLC0415

        try:
            opened = [
                provider_of(self._workspace, one, guardian=self._guardian, programs=self._programs)
                for one in settings.providers
            ]
        except NotConfigured as error:
            raise WorkspaceError(str(error)) from None
        self._opened += opened
        ledger = StoreLedger(
            self._store,
            self._key,
            usd_per_session=settings.spend_usd_per_session,
            usd_per_day=settings.spend_usd_per_day,
            low=self._low,
        )
        models = Models((*opened, *self._added.values()), settings, ledger=ledger, figures=self._figures)
        self._figures = models.figures
        return models

    async def _guardian(self) -> Guardian:
        assert self._tree is not None, "a workspace is used after it was opened"
        return await self._tree[1].guardian()

    async def _programs(self) -> Supervisor:
        """Give the supervisor of programs, started when the first one is wanted.

        Raises:
            SupervisorError: the workspace is being restarted.
        """
        assert self._tree is not None, "a workspace is used after it was opened"
        supervisor = self._tree[0]
        async with self._starting:
            try:
                return cast("Supervisor", supervisor.child_value(PROGRAMS_CHILD))
            except ChildNotFound:
                name = f"programs of {self._workspace.directory}"
                await supervisor.start_child(supervisor_spec(PROGRAMS_CHILD, lambda: Supervisor(name=name)))
                return cast("Supervisor", supervisor.child_value(PROGRAMS_CHILD))
