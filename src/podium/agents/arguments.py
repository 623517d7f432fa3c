"""How a JSON object becomes a function's arguments, and how its result becomes JSON: by the function's type hints.

All the work of looking at hints is done once a function; an attempt costs one decode, and nothing at all where there
is nothing to convert. What doesn't fit is an ArgumentError or ResultError that names function, parameter and place.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import msgspec
from msgspec import Raw

from podium.agents.context import Context, cut
from podium.agents.errors import ArgumentError, ResultError, error_text
from podium.agents.expansion import Expansion, mentions_expansion
from podium.agents.sdk import Parameter, TaskFunction
from podium.agents.validated import with_own_validation
from podium.exceptions import AgentBindingError

NULL = Raw(b"null")
_EMPTY = b"{}"
_SHOWN_LIMIT = 80
_REASONS_LIMIT = 20  # what is said to be wrong with a model
_DEPTH_LIMIT = 200
_object = msgspec.json.Decoder(dict[str, Raw])


class Call:
    """The conversions of one function. Raises AgentBindingError for hints that can't be used."""

    __slots__ = ("_decode_lenient", "_decode_strict", "_encode", "_function", "_hints", "_result", "context", "returns")

    def __init__(self, function: TaskFunction) -> None:
        self._function = function
        hints = _hints_of(function)
        named = [parameter.name for parameter in function.parameters]
        contexts = [name for name in named if _is_context(hints.get(name, Any))]
        if len(contexts) > 1:
            raise AgentBindingError(f"{function.shown}: {' and '.join(contexts)} are both annotated Context")
        self.context = contexts[0] if contexts else None
        self._hints = {name: _built(hints.get(name, Any)) for name in named if name != self.context}
        if function.keywords:
            self._hints[function.keywords] = _built(hints.get(function.keywords, Any))
        self._check_hints()
        self._decode_strict = self._decoder(lenient=False)
        self._decode_lenient = self._decoder(lenient=True)
        self._encode = msgspec.json.Encoder(enc_hook=_encode_hook).encode
        self.returns = result = hints.get("return", Any)
        unchecked = result in (Any, object, typing.NoReturn) or mentions_expansion(result)
        self._result = None if unchecked else self._checked("its result", result).decode

    @property
    def hints(self) -> Mapping[str, Any]:
        """The type hints of what it takes, by name: of a `**parameter` under its own name. Without one it is Any."""
        return self._hints

    def arguments(self, given: Raw, lenient: bool = False) -> dict[str, Any]:
        """Return the keyword arguments that a JSON object stands for, or raise ArgumentError."""
        if not self._hints and (lenient or bytes(given) == _EMPTY):
            return {}
        try:
            if self._function.keywords:
                return self._with_keywords(given)
            converted = (self._decode_lenient if lenient else self._decode_strict)(given)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ArgumentError(self._why_refused(given, lenient, error)) from None
        return msgspec.structs.asdict(converted)

    def result(self, value: Any) -> Raw:
        """Return a result as JSON, or raise ResultError."""
        if value is None and self._result is None:
            return NULL
        if isinstance(value, Expansion):
            return self._encoded(value.encoded(self.result(value.result)))
        encoded = self._encoded(value)
        if self._result is not None:
            try:
                self._result(encoded)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise ResultError(f"{self._function.shown} returned {_shown(encoded)}: {error}") from None
        return encoded

    def _encoded(self, value: Any) -> Raw:
        try:
            return Raw(self._encode(value))
        except Exception as error:  # noqa: BLE001 - a user's objects may raise anything; it becomes a ResultError
            where = _unencodable(value)
            raise ResultError(
                f"{self._function.shown} returned what JSON can't hold: {where or error_text(error)}"
            ) from None

    def _with_keywords(self, given: Raw) -> dict[str, Any]:
        """Convert one by one: what no parameter takes goes to the `**parameter`."""
        arguments = _object.decode(given)
        keywords = self._function.keywords or ""
        others = self._hints[keywords]
        for parameter in self._taken():
            if parameter.name not in arguments and parameter.required:
                raise ArgumentError(f"{self._function.shown}: missing argument `{parameter.name}`")
        if self.context in arguments:
            raise ArgumentError(f"{self._function.shown}: `{self.context}` is the context and can't be given")
        return {
            name: raw
            if (hint := self._hints[name] if name in self._hints and name != keywords else others) is Raw
            else _convert(raw, hint)
            for name, raw in arguments.items()
        }

    def _taken(self) -> list[Parameter]:
        return [parameter for parameter in self._function.parameters if parameter.name != self.context]

    def _decoder(self, lenient: bool) -> Callable[[Any], Any]:
        """Return a decoder of all arguments at once, with the function's own defaults."""
        fields: list[Any] = []
        for parameter in self._taken():
            hint = self._hints[parameter.name]
            if parameter.required:
                fields.append((parameter.name, hint))
            else:
                fields.append((parameter.name, hint, msgspec.field(default_factory=_constant(parameter.default))))
        arguments = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=not lenient, gc=False)
        return msgspec.json.Decoder(arguments, dec_hook=_decode_hook).decode

    def _check_hints(self) -> None:
        for name, hint in self._hints.items():
            self._checked(f"parameter `{name}`", hint)

    def _checked(self, what: str, hint: Any) -> msgspec.json.Decoder[Any]:
        try:
            return msgspec.json.Decoder(hint, dec_hook=_decode_hook)
        except Exception as error:
            raise AgentBindingError(
                f"{self._function.shown}: the type hint of {what} can't be used: {error}"
            ) from error

    def _why_refused(self, given: Raw, lenient: bool, error: Exception) -> str:
        """Return one sentence: which argument, what was expected, what was given."""
        shown = self._function.shown
        try:
            arguments = _object.decode(given)
        except (msgspec.MsgspecError, RecursionError):
            return f"{shown}: expected arguments as a JSON object, given {_shown(given)}"
        names = list(self._hints)
        takes = f"it takes {', '.join(f'`{name}`' for name in names)}" if names else "it takes no arguments"
        unknown = [name for name in arguments if name not in self._hints]
        if unknown and not lenient and not self._function.keywords:
            return f"{shown}: unknown argument{'s' * (len(unknown) > 1)} {_listed(unknown)}; {takes}"
        missing = [one.name for one in self._taken() if one.required and one.name not in arguments]
        if missing:
            return f"{shown}: missing argument{'s' * (len(missing) > 1)} {_listed(missing)}; given {_listed(arguments)}"
        for name, raw in arguments.items():
            hint = self._hints.get(name, self._hints.get(self._function.keywords or "", Any))
            try:
                _convert(raw, hint)
            except (msgspec.MsgspecError, RecursionError) as reason:
                return f"{shown}: argument `{name}` expected {_hint_text(hint)}, given {_shown(raw)}: {reason}"
        return f"{shown}: {error}"


def _hints_of(function: TaskFunction) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function.function, include_extras=True)
    except Exception as error:
        raise AgentBindingError(
            f"{function.shown}: a type hint can't be resolved ({error}); "
            "import what it names at the module's top, not under TYPE_CHECKING or inside a function"
        ) from error
    return {name: type(None) if hint is None else hint for name, hint in hints.items()}


def _is_context(hint: Any) -> bool:
    return hint is Context or Context in typing.get_args(hint)


def _built(hint: Any) -> Any:
    """Return a hint of what is taken: with what validates itself left to that, where msgspec takes it so."""
    try:
        validated = with_own_validation(hint)
        msgspec.json.Decoder(validated, dec_hook=_decode_hook)
    except Exception:  # noqa: BLE001 - a model beside others, of which only msgspec itself can tell which is meant
        return hint
    return validated


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value


def _convert(raw: Any, hint: Any) -> Any:
    return msgspec.json.decode(raw, type=hint, dec_hook=_decode_hook)


def _decode_hook(hint: type, value: Any) -> Any:
    """Convert what msgspec doesn't know: paths, and models that validate themselves (pydantic's)."""
    validate = getattr(hint, "model_validate", None)
    if validate is not None:
        try:
            return validate(value)
        except ValueError as error:
            raise ValueError(_why_invalid(error)) from None
    if inspect.isclass(hint) and issubclass(hint, PurePath) and isinstance(value, str):
        return hint(value)
    if value is None or not inspect.isclass(hint) or not isinstance(value, hint):
        raise ValueError(f"Expected `{_hint_text(hint)}`, got `{type(value).__name__}`, and JSON can't stand for it")
    return value


def _why_invalid(error: ValueError) -> str:
    """Return what a model says is wrong. Pydantic's text would repeat what was given, from which a secret may come."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return str(error)
    try:
        found = errors(include_url=False, include_context=False, include_input=False)
        reasons = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" if one["loc"] else one["msg"] for one in found]
    except Exception:  # noqa: BLE001 - somebody else's errors, which need not be pydantic's
        return str(error)
    return "; ".join(reasons[:_REASONS_LIMIT]) + f"; and {len(reasons) - _REASONS_LIMIT} more" * (
        len(reasons) > _REASONS_LIMIT
    )


def _encode_hook(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json")
    if isinstance(value, PurePath):
        return str(value)
    raise NotImplementedError(f"an object of type {type(value).__module__}.{type(value).__qualname__}")


def _unencodable(value: Any, path: str = "$", depth: int = 0) -> str:
    """Return where in a value the first thing lies that JSON can't hold, and what it is; empty if it isn't found."""
    if depth > _DEPTH_LIMIT:
        return f"{path[:_SHOWN_LIMIT]}… is nested too deeply"
    try:
        msgspec.json.encode(value, enc_hook=_encode_hook)
        return ""
    except Exception:  # noqa: BLE001,S110 - that it fails is why we are here; where is found below
        pass
    for name, member in _members(value):
        found = _unencodable(member, f"{path}{name}", depth + 1)
        if found:
            return found
    return f"{path} is of type {type(value).__module__}.{type(value).__qualname__}"


def _members(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(f".{key}" if isinstance(key, str) else f"[{key!r}]", member) for key, member in value.items()]
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        return [(f"[{index}]", member) for index, member in enumerate(value)]
    names: Any = getattr(value, "__struct_fields__", ()) or getattr(value, "__dataclass_fields__", ())
    return [(f".{name}", getattr(value, name, None)) for name in names]


def _hint_text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def _listed(names: Any) -> str:
    return cut(", ".join(f"`{name}`" for name in names) or "none", 512)


def _shown(raw: Any) -> str:
    text = bytes(raw)[: _SHOWN_LIMIT + 1].decode("utf-8", "replace")
    return text if len(text) <= _SHOWN_LIMIT else f"{text[:_SHOWN_LIMIT]}…"
