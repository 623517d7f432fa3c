"""Who may say what on the embedded NATS server: an authority that signs credentials and knows whose they are.

`Authority` keeps the keys of an operator and two accounts in a folder that only its owner can read, writes the part of
the server's configuration that makes it believe them, and signs users: the orchestrator, agents, clients. The server
enforces the permissions; the orchestrator adds what the server can't know (`registrant`, and `names.is_inbox`). A name
has one key at a time, so that what arrives on an agent's subjects comes from whoever holds that key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from podium.bus.names import (
    HEALTH,
    REGISTER,
    SUBMIT,
    SYSTEM_EVENT,
    TASK_RESULTS,
    TASK_STATUS,
    check_agent_id,
    inbox_of,
    of_agent,
)
from podium.bus.nats_jwt import EVERYTHING, Permissions, account_jwt, operator_jwt, user_jwt
from podium.bus.nkeys import Credentials, KeyPair, Role
from podium.bus.private import alone_in, make_private, read_private, write_private
from podium.clock import SECOND
from podium.exceptions import ConflictError, InvalidInputError, RegistrationConflictError, SettingsError
from podium.telemetry.logs import get_logger

KEYS_FILE = "authority.json"
ISSUED_FILE = "issued.json"
ORCHESTRATOR_FILE = "orchestrator.creds"
WATCHER_FILE = "watcher.creds"
_LONGEST_GREETING = 1 << 16  # bytes: the server takes a client's token as one line; it is 4 KiB where nothing is said
_LONGEST_TOKEN = _LONGEST_GREETING - 2_048

T = TypeVar("T")
_audit = get_logger("podium.audit")
_log = get_logger("podium.bus.nats_auth")


def authority_folder(data: str | Path) -> Path:
    """Return where the authority is kept in Podium's folder of data."""
    return Path(data) / "nats" / "auth"


# What hears the server's events needs of the system account.
WATCHING = Permissions(("$SYS.REQ.SERVER.PING.CONNZ",), ("$SYS.ACCOUNT.>", "_INBOX.>"))


class Kind(StrEnum):
    """Whose credentials they are."""

    AGENT = "agent"
    CLIENT = "client"


class Issued(Struct, frozen=True):
    """Credentials that were given out: for which names, to which key, from when to when. The seed isn't kept."""

    names: tuple[str, ...]
    key: str
    kind: Kind
    issued_s: int
    expires_s: int | None = None
    revoked_s: int | None = None

    def valid(self, now_s: int) -> bool:
        """Whether the server believes them then."""
        return self.revoked_s is None and (self.expires_s is None or now_s < self.expires_s)


class _Keys(Struct, frozen=True):
    operator: str  # seeds
    system: str
    account: str
    created_s: int


class Authority:
    """The keys that the embedded server believes, and the register of whom they were used for.

    Several processes may have one folder open: changes are made under a lock, `refresh` sees those of others.
    """

    def __init__(self, folder: Path, keys: _Keys) -> None:
        self._folder = folder
        self._operator = KeyPair.from_seed(keys.operator)
        self._system = KeyPair.from_seed(keys.system)
        self._account = KeyPair.from_seed(keys.account)
        self._created_s = keys.created_s
        self._issued: tuple[Issued, ...] = ()
        self._holders: dict[str, Issued] = {}  # by name, what isn't revoked
        self._stamp: tuple[int, ...] = ()  # of the file that was read last
        self._served: dict[str, int] | None = None  # the revocations in the configuration that was given last
        self.refresh()

    @classmethod
    def open(cls, folder: Path, now_us: int) -> Authority:
        """Return the authority of a folder, made if there is none.

        Raises SettingsError if its files are damaged, or if others than their owner can read them.
        """
        make_private(folder)
        path = folder / KEYS_FILE
        with alone_in(folder):
            if not path.exists():
                operator, system, account = (
                    KeyPair.create(role).seed for role in (Role.OPERATOR, Role.ACCOUNT, Role.ACCOUNT)
                )
                write_private(path, msgspec.json.encode(_Keys(operator, system, account, now_us // SECOND)))
        try:
            return cls(folder, _read(path, _Keys))
        except InvalidInputError as error:
            raise SettingsError(f"{path}: {error}") from error

    # --- the server --------------------------------------------------------------------------------------------

    def server_config(self) -> str:
        """Return the part of the server's configuration that turns authentication on, with today's revocations."""
        self._served = revoked = self._revocations()
        system, account = self._system.public, self._account.public
        changed_s = max([self._created_s, *revoked.values()])
        tokens = {
            system: account_jwt(self._operator, system, "SYS", self._created_s, jetstream=False),
            account: account_jwt(self._operator, account, "PODIUM", changed_s, jetstream=True, revocations=revoked),
        }
        preloaded = "\n".join(f"  {name}: {token}" for name, token in tokens.items())
        return (
            f"operator: {operator_jwt(self._operator, 'podium', system, self._created_s)}\n"
            f"system_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n{preloaded}\n}}\n"
            f"max_control_line: {_LONGEST_GREETING}\n"
        )

    def refresh(self) -> bool:
        """Read what other processes have issued and revoked.

        True when the server has to be given a new `server_config`: revocations have come since the last one.
        """
        path = self._folder / ISSUED_FILE
        try:
            found = path.stat()
        except FileNotFoundError:
            return False
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp != self._stamp:
            self._issued = _read(path, tuple[Issued, ...])
            self._holders = {name: one for one in self._issued if one.revoked_s is None for name in one.names}
            self._stamp = stamp
        return self._served is not None and bool(self._revocations().items() - self._served.items())

    async def keep_current(self, reload: Callable[[str], object], every_seconds: float = 1.0) -> None:
        """Give `reload` the server's new configuration whenever something was revoked; until it is cancelled."""
        while True:
            await asyncio.sleep(every_seconds)
            try:
                if self.refresh():
                    reload(self.server_config())
            except (SettingsError, OSError) as error:
                _log.error("revocations wait: the issued credentials can't be read", reason=str(error))

    # --- users -------------------------------------------------------------------------------------------------

    def orchestrator(self, now_us: int) -> Credentials:
        """Return new credentials for a process that orchestrates: all of the account's subjects, and JetStream."""
        return self._signed("orchestrator", EVERYTHING, now_us // SECOND, None)

    def orchestrator_file(self, now_us: int) -> Path:
        """Write such credentials to a file beside the keys, for whoever takes a path, and return it."""
        path = self._folder / ORCHESTRATOR_FILE
        write_private(path, self.orchestrator(now_us).text().encode())
        return path

    @property
    def account(self) -> str:
        """The account that all users but the watcher are in, by its public key."""
        return self._account.public

    def watcher_file(self, now_us: int) -> Path:
        """Write credentials with which the server's own events can be heard, and who is connected asked; return where.

        They are of the system account, and for the orchestrator alone.
        """
        path, key = self._folder / WATCHER_FILE, KeyPair.create(Role.USER)
        token = user_jwt(self._system, key.public, "watcher", WATCHING, now_us // SECOND)
        write_private(path, Credentials(token, key).text().encode())
        return path

    def issue(
        self,
        names: tuple[str, ...],
        kind: Kind,
        now_us: int,
        *,
        lifetime_seconds: float | None = None,
        submits: bool = False,
        replace: bool = False,
    ) -> Credentials:
        """Return new credentials for these names, and note them.

        Several agents of one process share one connection, and so one key. `submits` lets an agent submit tasks, as
        clients do. `replace` revokes what the names had; without it, that raises ConflictError. Raises
        InvalidInputError for a name that can't stand in a subject.
        """
        if not names:
            raise InvalidInputError("credentials are for at least one name")
        for name in names:
            check_agent_id(name)
        now_s = now_us // SECOND
        expires_s = _expiry(now_s, lifetime_seconds)
        allowed = client_permissions(names) if kind is Kind.CLIENT else agent_permissions(names, submits)
        with alone_in(self._folder):
            self.refresh()
            held = self._valid(names, now_s)
            if held and not replace:
                raise ConflictError(_held(held[0], names))
            credentials = self._signed(names[0], allowed, now_s, expires_s)
            if len(credentials.jwt) > _LONGEST_TOKEN:
                raise InvalidInputError(f"{len(names):,} names are too many for one connection; give them to several")
            new = Issued(names, credentials.public, kind, now_s, expires_s)
            self._save((*self._without(held, now_s), new))
        for old in held:
            _audit.info("credentials_revoked", names=",".join(old.names), key=old.key, reason="replaced")
        _audit.info("credentials_issued", names=",".join(names), kind=str(kind), key=new.key, expires_s=expires_s)
        return credentials

    def revoke(self, name: str, now_us: int) -> tuple[Issued, ...]:
        """Take back the credentials of a name and return them; the server believes them until it has reloaded."""
        with alone_in(self._folder):
            self.refresh()
            held = self._valid((name,), now_us // SECOND)
            if held:
                self._save(self._without(held, now_us // SECOND))
        for old in held:
            _audit.info("credentials_revoked", names=",".join(old.names), key=old.key, reason="revoked")
        return held

    def issued(self) -> tuple[Issued, ...]:
        """Return all that were given out, in that order; those that had expired at the last change are forgotten."""
        return self._issued

    def registrant(self, subject: str, agent: str, now_us: int) -> str:
        """Return the key of the agent that registers, which the subject of its message shows.

        Only the holder of an agent's credentials can publish on `mcp.agent.{id}.register`; on `mcp.agent.register`
        everybody may claim to be anybody. Raises RegistrationConflictError, to be answered with 409; the audit log has
        an entry then.
        """
        own = of_agent(agent, "register")
        if subject != own:
            raise _refused(
                subject,
                agent,
                f"with authentication on, the agent {agent[:128]!r} registers on {own[:256]} with its own credentials, "
                f"not on {subject[:256]}",
            )
        self.refresh()
        held = self._holders.get(agent)
        if held is None or held.kind is not Kind.AGENT or not held.valid(now_us // SECOND):
            raise _refused(
                subject,
                agent,
                f"no credentials of the agent {agent!r} are valid; `podium agent credentials {agent}` makes some",
            )
        return held.key

    # --- within ------------------------------------------------------------------------------------------------

    def _signed(self, name: str, permissions: Permissions, now_s: int, expires_s: int | None) -> Credentials:
        key = KeyPair.create(Role.USER)
        return Credentials(user_jwt(self._account, key.public, name, permissions, now_s, expires_s), key)

    def _valid(self, names: tuple[str, ...], now_s: int) -> tuple[Issued, ...]:
        found = dict.fromkeys(self._holders[name] for name in names if name in self._holders)
        return tuple(one for one in found if one.valid(now_s))

    def _without(self, taken: tuple[Issued, ...], now_s: int) -> tuple[Issued, ...]:
        """Return what is noted, these revoked; what has expired is forgotten, since the server refuses it anyway."""
        kept = []
        for one in self._issued:
            if one.expires_s is not None and one.expires_s <= now_s:
                continue
            if one in taken:
                # A revocation holds for tokens of its second and before, and the clock may have gone back.
                one = msgspec.structs.replace(one, revoked_s=max(now_s, one.issued_s))
            kept.append(one)
        return tuple(kept)

    def _revocations(self) -> dict[str, int]:
        return {one.key: one.revoked_s for one in self._issued if one.revoked_s is not None}

    def _save(self, issued: tuple[Issued, ...]) -> None:
        write_private(self._folder / ISSUED_FILE, msgspec.json.encode(issued))
        self.refresh()


def agent_permissions(names: tuple[str, ...], submits: bool = False) -> Permissions:
    """Return on which subjects agents of these names may speak and listen.

    `mcp.agent.register` is among them, to be told where to register. An answer to whatever reply subject a message
    has (`allow_responses`) is not: an agent could send itself a message whose reply subject is another's.
    """
    speak = [REGISTER, HEALTH]
    hear = [SYSTEM_EVENT]
    if submits:
        speak += [SUBMIT, TASK_STATUS]
        hear.append(TASK_RESULTS)
    for name in names:
        speak += [of_agent(name, what) for what in ("register", "result", "status", "heartbeat")]
        hear += [of_agent(name, "task"), of_agent(name, "status"), f"{inbox_of(name)}.>"]
    return Permissions(tuple(speak), tuple(hear))


def client_permissions(names: tuple[str, ...]) -> Permissions:
    """Return on which subjects a client of these names may speak and listen."""
    inboxes = tuple(f"{inbox_of(name)}.>" for name in names)
    return Permissions((SUBMIT, TASK_STATUS, HEALTH), (SYSTEM_EVENT, TASK_RESULTS, *inboxes))


def _expiry(now_s: int, lifetime_seconds: float | None) -> int | None:
    if lifetime_seconds is None:
        return None
    if not 1 <= lifetime_seconds <= 100 * 365 * 86_400:
        raise InvalidInputError("credentials are valid for a second at least, and for 100 years at most")
    return now_s + int(lifetime_seconds)


def _refused(subject: str, agent: str, reason: str) -> RegistrationConflictError:
    _audit.warning("registration_refused", agent=agent[:128], subject=subject[:256], reason=reason)
    return RegistrationConflictError(reason)


def _held(held: Issued, names: tuple[str, ...]) -> str:
    name = next(name for name in names if name in held.names)
    return (
        f"the {held.kind} {name!r} has credentials already, for the key {held.key}; "
        "--replace revokes them and makes new ones"
    )


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(read_private(path), type=kind)
    except msgspec.DecodeError as error:
        raise SettingsError(
            f"{path} is damaged; put it back from a backup, or remove its folder and issue all credentials anew"
        ) from error
