"""What every test runs under: no network but this machine, no settings from outside, a clean default runtime."""

from __future__ import annotations

import ipaddress
import os
import sys

KEPT = ("RELAY_CORPUS", "RELAY_GOLDEN", "RELAY_SOAK")
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
for variable in [name for name in os.environ if name.startswith("RELAY_") and name not in KEPT]:
    del os.environ[variable]  # before relay_core reads it

import pytest  # noqa: E402  # after the environment is clean
from hypothesis import HealthCheck, settings  # noqa: E402  # see above

import relay_core  # noqa: E402  # see above

# A busy machine is no reason to fail: speed is measured elsewhere.
settings.register_profile("relay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relay")


def _is_local(host):
    if not isinstance(host, str | bytes) or host in ("", "localhost", b"localhost"):
        return True  # None and the empty name mean this machine
    try:
        return ipaddress.ip_address(host if isinstance(host, str) else host.decode()).is_loopback
    except ValueError:
        return False


def _stay_on_this_machine(event, arguments):
    """An audit hook sees every connection of this process, also those that C code makes through `socket`."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if isinstance(address, tuple) and not _is_local(address[0]):
            raise PermissionError(f"a test wanted to reach {address[0]!r}; tests talk to 127.0.0.1 only")
    elif event == "socket.getaddrinfo" and not _is_local(arguments[0]):
        raise PermissionError(f"a test wanted to look up {arguments[0]!r}; tests talk to 127.0.0.1 only")


sys.addaudithook(_stay_on_this_machine)


@pytest.fixture(scope="session", autouse=True)
def _no_configuration_of_the_user(tmp_path_factory):
    """Neither this process nor one that a test starts finds a `relay.toml` in the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("no-configuration")))
        yield


@pytest.fixture(autouse=True)
def _clean_default_runtime():
    """What a test registers on the default runtime is gone when it ends."""
    yield
    registry = relay_core.default._global
    for registration in registry.entries:
        registry.remove(registration)
