"""How agents' code is imported, the same way in the process that binds it and in the worker processes under it.

A module is named (`package.module`) or is a file (`path/to/file.py`, which then may import its neighbours, as it may
when Python runs it). What can't be imported is one AgentBindingError that says where and why.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from zlib import crc32

from podium.agents.errors import error_text
from podium.agents.frames import Source
from podium.agents.sdk import AgentDefinition, TaskFunction, definition_of, task_of
from podium.exceptions import AgentBindingError

_files: dict[str, str] = {}  # modules that only their file leads to


def import_module(name: str) -> ModuleType:
    """Import a module by its name, found from the working directory too."""
    _put_on_path(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise AgentBindingError(f"no module named {name!r}; looked in {Path.cwd()} and on Python's path") from error
        raise AgentBindingError(f"importing {name} failed: {error_text(error)}") from error
    except BaseException as error:
        raise _failed(name, error) from error


def import_file(file: str) -> ModuleType:
    """Import a Python file; within a package (an `__init__.py` beside it) by its name there."""
    path = Path(file).expanduser().resolve()
    if not path.is_file():
        raise AgentBindingError(f"no file {file}; expected a Python file with agents")
    root, name = path.parent, path.stem
    while (root / "__init__.py").is_file():
        root, name = root.parent, f"{root.name}.{name}"
    _put_on_path(root)
    if _leads_to(name, path):
        return import_module(name)
    unique = f"podium_file_{crc32(str(path).encode()):08x}_{path.stem}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise AgentBindingError(f"{file} isn't a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[unique]
        raise _failed(file, error) from error
    _files[unique] = str(path)
    return module


def source_of(definition: AgentDefinition, function: TaskFunction) -> Source:
    """Return where another process finds a function. Raises AgentBindingError for what only lives in this one."""
    owner = definition.factory if function.is_method else function.function
    module, name = str(getattr(owner, "__module__", "")), str(getattr(owner, "__qualname__", ""))
    file = _files.get(module)
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        if spec is not None:
            module = spec.name
        else:
            file = getattr(main, "__file__", None)
            if file is None or not Path(file).is_file():
                raise AgentBindingError(
                    f"{function.shown} is a cpu task, which runs in a process of its own, but is defined in an "
                    "interactive session; put it into a module"
                )
    return Source(module, name, function.name if function.is_method else "", file)


def function_at(source: Source) -> tuple[AgentDefinition | None, TaskFunction]:
    """Return what a `Source` names, with its agent if it is a method."""
    found: object = import_file(source.file) if source.file else import_module(source.module)
    for part in source.name.split("."):
        found = getattr(found, part, None)
    definition = definition_of(found) if source.task else None
    function = definition.functions.get(source.task) if definition is not None else task_of(found)
    if function is None:
        raise AgentBindingError(f"{source.module} has no task {source.name}{source.task and '.'}{source.task}")
    return definition, function


def _leads_to(name: str, path: Path) -> bool:
    """Whether importing this name gives this file, and not another of the same name."""
    if name in sys.modules:
        return _same_file(getattr(sys.modules[name], "__file__", None), path)
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return False
    return spec is not None and _same_file(spec.origin, path)


def _same_file(file: str | None, path: Path) -> bool:
    return file is not None and Path(file).resolve() == path


def _put_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _failed(name: str, error: BaseException) -> BaseException:
    if isinstance(error, (AgentBindingError, KeyboardInterrupt)):
        return error
    return AgentBindingError(f"importing {name} failed: {type(error).__name__}: {error_text(error)}")
