"""One execution's history as a file that stands alone: its row, its definition and blobs, every row of its log.

JSON lines: the first says what it is, each further one holds a blob or a row. Texts are kept as they are stored, so
that checksums hold. `import_history` gives a store in memory that replay can read.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterable

import msgspec
from msgspec import Struct

from podium.engine.codec import decode_row
from podium.engine.values import Value
from podium.exceptions import CorruptHistoryError, ExecutionNotFoundError, InvalidInputError
from podium.store.memory import MemoryData, MemoryStore
from podium.store.protocol import ExecutionRow, LogRow, Store

FILE_FORMAT = 1
_PAGE = 1_000


class Head(Struct, frozen=True, tag_field="line", tag="history"):
    """What the file is: its format, the Podium that wrote it, and the execution's row."""

    format: int
    podium: str
    execution: str
    tenant: str
    shard: int
    workflow: str
    version: str
    definition: str
    status: str
    run: int
    sequence: int
    wake_at_us: int | None
    active: bool
    created_us: int
    updated_us: int
    finished_us: int | None
    priority: int
    parent: str | None
    summary: str


class Content(Struct, frozen=True, omit_defaults=True, tag_field="line", tag="blob"):
    """A blob: the definition, or a large value. Bytes that are no text are in base64."""

    hash: str
    text: str = ""
    base64: str = ""


class Entry(Struct, frozen=True, omit_defaults=True, tag_field="line", tag="row"):
    """One row of the log."""

    position: int
    sequence: int
    event_count: int
    input_id: str
    kind: str
    now_us: int
    events: str
    checksum: int
    payload: str = ""
    payload_blob: str | None = None
    format: int = 1


_decoder = msgspec.json.Decoder(Head | Content | Entry)


async def export_history(store: Store, execution: str, podium: str) -> AsyncIterator[bytes]:
    """Yield the lines of an execution's file; `podium` is the version that writes it."""
    row = await store.execution(execution)
    if row is None:
        raise ExecutionNotFoundError(f"there is no execution {execution}")
    yield _line(_head(row, podium))
    yield await _blob(store, row.tenant, row.definition)
    written = {row.definition}
    after = 0
    while page := await store.history(execution, after, _PAGE):
        for entry in page:
            after = entry.sequence
            if after > row.sequence:
                return  # it went on meanwhile; the file ends where its row does
            for digest in await _mentioned(store, entry):
                if digest not in written:
                    written.add(digest)
                    yield await _blob(store, row.tenant, digest)
            yield _line(_entry(entry))


def import_history(lines: Iterable[bytes], name: str) -> tuple[MemoryStore, str]:
    """Return a store in memory that holds the file's execution, and its id. Raises InvalidInputError."""
    data, head = MemoryData(), None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found = _decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise InvalidInputError(f"{name}:{number} is no line of a history: {error}") from error
        match found:
            case Head():
                if found.format > FILE_FORMAT:
                    raise InvalidInputError(f"{name} has format {found.format}; this Podium reads {FILE_FORMAT}")
                head = found
                data.executions[found.execution] = _execution(found)
            case Content() if head is not None:
                content = b64decode(found.base64) if found.base64 else found.text.encode()
                data.blobs[head.tenant, found.hash] = (content, 0)
            case Entry() if head is not None:
                row = _row(head, found)
                data.histories.setdefault(head.execution, []).append(row)
                data.inputs.add((row.execution, row.input_id))
            case _:
                break
    if head is None:
        raise InvalidInputError(f"{name} is no history: its first line must say so")
    return MemoryStore(data), head.execution


async def _mentioned(store: Store, row: LogRow) -> list[str]:
    """Return the blobs that a row names: its payload's, and the values in its input and its events."""
    payload = await store.get(row.tenant, row.payload_blob) if row.payload_blob else None
    given, events = decode_row(row, payload)
    named = [row.payload_blob] if row.payload_blob else []
    for each in (given, *events):
        values = [getattr(each, field) for field in each.__struct_fields__]
        named += [value.blob for value in values if isinstance(value, Value) and value.blob is not None]
    return named


async def _blob(store: Store, tenant: str, digest: str) -> bytes:
    content = await store.get(tenant, digest)
    try:
        return _line(Content(digest, content.decode()))
    except UnicodeDecodeError:
        return _line(Content(digest, base64=b64encode(content).decode()))


def _line(what: Head | Content | Entry) -> bytes:
    return msgspec.json.encode(what) + b"\n"


def _head(row: ExecutionRow, podium: str) -> Head:
    return Head(
        FILE_FORMAT, podium, row.id, row.tenant, row.shard, row.workflow, row.version, row.definition, row.status,
        row.run, row.sequence, row.wake_at_us, row.active, row.created_us, row.updated_us, row.finished_us,
        row.priority, row.parent, row.summary.decode(),
    )  # fmt: skip


def _entry(row: LogRow) -> Entry:
    return Entry(
        row.position, row.sequence, row.event_count, row.input_id, row.kind, row.now_us, row.events.decode(),
        row.checksum or row.computed_checksum(), row.payload.decode(), row.payload_blob, row.format,
    )  # fmt: skip


def _execution(head: Head) -> ExecutionRow:
    return ExecutionRow(
        head.execution, head.tenant, head.shard, head.workflow, head.version, head.definition, head.status, head.run,
        head.sequence, head.wake_at_us, head.active, head.created_us, head.updated_us, head.finished_us, head.priority,
        head.parent, head.summary.encode(),
    )  # fmt: skip


def _row(head: Head, entry: Entry) -> LogRow:
    row = LogRow(
        head.shard, entry.position, head.tenant, head.execution, entry.sequence, entry.event_count, entry.input_id,
        entry.kind, entry.now_us, entry.payload.encode(), entry.events.encode(), entry.payload_blob, entry.format,
        entry.checksum,
    )  # fmt: skip
    if row.computed_checksum() != row.checksum:
        raise CorruptHistoryError(f"the row at sequence {row.sequence} doesn't match its checksum")
    return row
