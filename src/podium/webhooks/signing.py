"""How a delivery is signed, so that who gets it can tell that it is ours, whole, and not an old one again."""

from __future__ import annotations

import hmac
from hashlib import sha256

HEADER = "Podium-Signature"


def signature(secret: str, body: bytes, at_seconds: int) -> str:
    """Return the header's value: the time, and the HMAC-SHA256 (hex) of `TIME.BODY` under the secret."""
    digest = hmac.new(secret.encode(), b"%d.%s" % (at_seconds, body), sha256).hexdigest()
    return f"t={at_seconds},v1={digest}"
