"""The conformance suite of a store: every promise of `podium.store.protocol`, as tests that any adapter can take.

An adapter's own tests say how to make a store, and inherit the rest:

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store_factory(self, tmp_path):
            return MyFactory(tmp_path)

where `MyFactory` is a `StoreFactory`. A store that replicas share inherits `MembershipConformance` too; its
factory is a `SharedStoreFactory`. Nothing here sleeps, and nothing knows an adapter.
"""

from __future__ import annotations

from podium.testing.store_appends import AppendConformance, OwnershipConformance
from podium.testing.store_membership import MembershipConformance, SharedStoreFactory
from podium.testing.store_models import ModelConformance
from podium.testing.store_reads import (
    BlobConformance,
    HandleConformance,
    InboxConformance,
    LoadConformance,
    LookupConformance,
)
from podium.testing.store_tools import StoreFactory

__all__ = ["MembershipConformance", "SharedStoreFactory", "StoreConformance", "StoreFactory"]


class StoreConformance(
    OwnershipConformance,
    AppendConformance,
    LoadConformance,
    InboxConformance,
    LookupConformance,
    BlobConformance,
    ModelConformance,
    HandleConformance,
):
    """All of it."""
