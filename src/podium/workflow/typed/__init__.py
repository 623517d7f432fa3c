"""Types across tasks: what functions take and give, as JSON Schemas, held against a workflow before anything runs.

What isn't known isn't checked: whatever is complained of here fails when the workflow runs, but for a problem that says
itself that it isn't certain.
"""

from podium.workflow.typed.checking import type_problems
from podium.workflow.typed.scope import Signatures
from podium.workflow.typed.signatures import Signature

__all__ = ["Signature", "Signatures", "type_problems"]
