"""Machines with addresses of their own, for tests: Linux network namespaces on a bridge."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import subprocess

import pytest


class Network:
    """A switch with machines on it: network namespaces that share everything else with this one.

    Attributes:
        host: address of this machine on it.
    """

    def __init__(self) -> None:
        self._mark = secrets.token_hex(4)
        self._bridge = f"tb{self._mark}"
        self._subnet = ipaddress.ip_network((f"10.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.0", 24))
        self.host = str(self._subnet[1])
        self._namespaces: list[Namespace] = []

    def up(self) -> None:
        """Makes the switch; skips the test where that is not allowed."""
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("no network namespaces here: they need root, Linux and `ip` (apt-get install iproute2)")
        _ip("address", "add", f"{self.host}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def machine(self) -> Namespace:
        """Adds a machine to it."""
        number = len(self._namespaces)
        name, cable, address = f"tn{self._mark}{number}", f"tv{self._mark}{number}", str(self._subnet[number + 2])
        _ip("netns", "add", name)
        machine = Namespace(name, cable, address)
        self._namespaces.append(machine)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", cable, "master", self._bridge, "up")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", name, "link", "set", device, "up")
        return machine

    def down(self) -> None:
        """Removes all of it."""
        for machine in self._namespaces:
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", machine.name)
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            _ip("link", "delete", self._bridge)


class Namespace:
    """A machine of a `Network`.

    Args:
        name: of the namespace.
        cable: the end of its cable at the switch.
        address: its own.
    """

    def __init__(self, name: str, cable: str, address: str) -> None:
        self.name, self._cable, self.address = name, cable, address

    def cut(self) -> None:
        """Pulls the cable: nobody is told."""
        _ip("link", "set", self._cable, "down")

    def mend(self) -> None:
        """Plugs it in again."""
        _ip("link", "set", self._cable, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
