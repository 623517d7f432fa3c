"""Dialling somebody else's host: its name is resolved once, and what is connected to is the address that was checked.

A name that stands for an address of this machine or of a private network is refused, unless that is allowed: a webhook
must not be a way into what only this machine reaches.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from podium.exceptions import WebhookError

MOST_ADDRESSES = 4  # of a name, that are tried
_NAT64 = ip_network("64:ff9b::/96")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dialled(host: str, port: int, tls: ssl.SSLContext | None, *, allow_private: bool) -> Streams:
    """Connect to a host. Raises WebhookError; the caller sets the time."""
    problem: OSError | None = None
    for address in await _addresses(host, port, allow_private=allow_private):
        try:
            return await asyncio.open_connection(address, port, ssl=tls, server_hostname=host if tls else None)
        except ssl.SSLCertVerificationError as error:
            raise WebhookError(f"the certificate of {host} can't be trusted: {error.verify_message}") from error
        except OSError as error:
            problem = error
    raise WebhookError(f"{host}:{port} can't be reached: {problem}") from problem


async def _addresses(host: str, port: int, *, allow_private: bool) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookError(f"the name {host} can't be resolved: {error}") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    allowed = [address for address in addresses if allow_private or is_public(address)]
    if not allowed:
        raise WebhookError(
            f"{host} is an address of this machine or of a private network ({', '.join(addresses[:MOST_ADDRESSES])}); "
            "webhook_allow_private allows that"
        )
    return allowed[:MOST_ADDRESSES]


def is_public(address: str) -> bool:
    """Whether an address is one that anybody could reach; also of the IPv4 address that an IPv6 one stands for."""
    try:
        found: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        within = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            within = IPv4Address(int(found) & 0xFFFF_FFFF)
        if within is not None:
            found = within
        elif found.is_site_local:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved)
