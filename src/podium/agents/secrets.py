"""Secrets, in the one process that may know them: the agent's. Looked up when an attempt begins, and never before.

A value is an environment variable's or a file's in the folder of secrets. It goes into the arguments and variables of
the attempt, to nobody else, and is concealed from then on in whatever attempts of this process say.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from podium.agents.concealing import SHORTEST, Concealer, Known
from podium.exceptions import NonRetryableError, SecretError
from podium.fleet.messages import Assignment, SecretPlace, SecretReference
from podium.settings import BUS_VARIABLES, DOCUMENTED_NAMES, PREFIX, Settings
from podium.workflow.variables import steers_programs

VARIABLE: Final = f"{PREFIX}SECRET_"
MAX_BYTES: Final = 64 << 10  # of a value
DEFAULT_FOLDER: Final = Settings().secrets_folder

_OWN_VARIABLES: Final = {*BUS_VARIABLES, *(name for names in DOCUMENTED_NAMES.values() for name in names)}


class Given(Struct, frozen=True):
    """What an attempt is given: its arguments (a JSON object) and variables, with the values of secrets in them."""

    arguments: Raw
    env: dict[str, str] = {}
    secrets: tuple[Known, ...] = ()  # concealed for as long as the attempt has them


class Secrets:
    """Where the secrets of this process are: its environment, and a folder."""

    def __init__(self, folder: str = DEFAULT_FOLDER, environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment: Mapping[str, str] = os.environ if environment is None else environment
        self._concealer = Concealer()
        self.conceal = self._concealer.conceal
        self.conceal_json = self._concealer.conceal_json

    @property
    def any_known(self) -> bool:
        """Whether a value has been looked up yet."""
        return self._concealer.knows_any

    def given(self, assignment: Assignment) -> Given:
        """Return what the attempt is given.

        Raises SecretError, naming the secret that isn't here, NonRetryableError for a variable that nobody may set.
        """
        env = dict(assignment.env)
        if (steering := next(filter(steers_programs, env), None)) is not None:
            raise NonRetryableError(f"the variable {steering} would say which code runs here; a workflow can't set it")
        if not assignment.secrets:
            return Given(assignment.arguments, env)
        tree = {"input": msgspec.json.decode(assignment.arguments), "env": env}
        given: dict[SecretReference, Known] = {}
        for place in assignment.secrets:
            for part in place.parts:
                if isinstance(part, SecretReference) and part not in given:
                    given[part] = self._learnt(part, assignment.agent)
            _put_in(tree, place, given)
        return Given(Raw(msgspec.json.encode(tree["input"])), env, tuple(given.values()))

    def value_of(self, secret: SecretReference, agent: str = "") -> str:
        """Return a secret's value. Raises SecretError."""
        return self._learnt(secret, agent).value

    def _learnt(self, secret: SecretReference, agent: str) -> Known:
        value = self._looked_up(secret, agent)
        if len(value) < SHORTEST:
            raise SecretError(
                f"the secret {secret.name!r} has fewer than {SHORTEST} characters: it couldn't be kept out of logs"
            )
        if any("\ud800" <= character <= "\udfff" for character in value):  # bytes of a variable that are no text
            raise SecretError(f"the secret {secret.name!r} isn't UTF-8 text")
        return self._concealer.learn(secret.name, value)

    def _looked_up(self, secret: SecretReference, agent: str) -> str:
        if secret.env:
            _check_variable(secret)
        variable = secret.env or VARIABLE + secret.name.upper()
        if not secret.file and variable in self._environment:
            return self._environment[variable]
        if not secret.env:
            found = self._in_folder(secret.name, secret.file or secret.name)
            if found is not None:
                return found
        raise SecretError(f"{_who(agent)} doesn't know the secret {secret.name!r}: {self._remedy(secret, variable)}")

    def _remedy(self, secret: SecretReference, variable: str) -> str:
        file = Path(self._folder) / (secret.file or secret.name)
        if secret.file:
            return f"there is no file {file} where it runs"
        return f"set {variable} where it runs" + ("" if secret.env else f", or write it to {file}")

    def _in_folder(self, name: str, file: str) -> str | None:
        """Return a file's text without a last line break, None if there is no such file."""
        folder = os.path.realpath(self._folder)
        path = os.path.realpath(os.path.join(folder, file))
        if os.path.commonpath((folder, path)) != folder or path == folder:
            raise SecretError(f"the secret {name!r} names the file {file!r}, which is not in {self._folder}")
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise SecretError(f"the secret {name!r}: {file!r} in {self._folder} is no file")
            with open(path, "rb") as opened:
                content = opened.read(MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SecretError(f"the secret {name!r} can't be read: {error.strerror or type(error).__name__}") from None
        if len(content) > MAX_BYTES:
            raise SecretError(f"the secret {name!r} is larger than {MAX_BYTES:,} bytes")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            raise SecretError(f"the secret {name!r} isn't UTF-8 text") from None
        return text.removesuffix("\n").removesuffix("\r")


def _put_in(tree: Any, place: SecretPlace, given: Mapping[SecretReference, Known]) -> None:
    *way, last = place.path
    for key in way:
        tree = tree[key]
    tree[last] = "".join(part if isinstance(part, str) else given[part].value for part in place.parts)


def _check_variable(secret: SecretReference) -> None:
    """A workflow may name variables that people set for it; those by which Podium itself is set are not among them."""
    own = secret.env.startswith(PREFIX) and not secret.env.startswith(VARIABLE)
    if own or secret.env in _OWN_VARIABLES:
        raise SecretError(f"the secret {secret.name!r} names {secret.env}, which is Podium's own; give it another one")


def _who(agent: str) -> str:
    return f"agent {agent}" if agent else "this process"
