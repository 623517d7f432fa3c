"""The store in memory."""

from podium.store.memory.store import MemoryStore as MemoryStore
from podium.store.memory.tables import MemoryData as MemoryData
