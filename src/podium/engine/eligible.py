"""The tasks of an execution that nothing keeps from beginning, in the order in which they came to that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator


class Eligible(dict[str, None]):
    """Paths of eligible tasks. Which of them were seen to want for nothing but room is remembered for speed alone.

    Whoever looks at them where there is no room passes those over, and comes to the same with or without that memory.
    """

    __slots__ = ("_unseen",)

    def __init__(self, paths: Iterable[str] = ()) -> None:
        super().__init__(dict.fromkeys(paths))
        self._unseen: dict[str, None] = dict(self)

    def __setitem__(self, path: str, value: None) -> None:
        """Add a task; one that is there keeps its place."""
        if path not in self:
            super().__setitem__(path, None)
            self._unseen[path] = None

    def pop(self, path: str, default: object = None) -> None:
        """Take a task out, if it is there."""
        super().pop(path, None)
        self._unseen.pop(path, None)

    def clear(self) -> None:
        """Take all tasks out."""
        super().clear()
        self._unseen.clear()

    def wants_room(self, path: str) -> None:
        """Remember that a task only wants for room."""
        self._unseen.pop(path, None)

    def to_look_at(self, has_room: Callable[[], bool]) -> Iterator[str]:
        """Yield the tasks in their order: once there is no room, only those that may want for something else."""
        looked_at = set()
        for path in self:
            if not has_room():
                break
            looked_at.add(path)
            yield path
        else:
            return
        for path in tuple(self._unseen):
            if path not in looked_at:
                yield path
