"""What all contracts share: tests that are inherited, and not replaced or removed without a stated reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Contract", "contract_override"]

_META = "test_no_silent_overrides"
_REASON = "__relay_override_reason__"


def contract_override(*, reason: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a test that replaces one of a contract's; without the mark `test_no_silent_overrides` fails.

    Args:
        reason: why the contract's own test does not fit.

    Raises:
        UsageError: there is no reason.

    Example:
        >>> from relay_core.testing import PluginContract
        >>> class TestMine(PluginContract):
        ...     name = "mine"
        ...
        ...     @contract_override(reason="its sockets are shared by all runtimes")
        ...     def test_runtimes_are_isolated(self):
        ...         pass
        >>> TestMine().test_no_silent_overrides()
    """
    if not isinstance(reason, str) or not reason.strip():  # pyright: ignore[reportUnnecessaryIsInstance]  # users pass anything
        raise UsageError('contract_override needs a reason: @contract_override(reason="...")')

    def mark(test: Callable[..., Any]) -> Callable[..., Any]:
        setattr(test, _REASON, reason)
        return test

    return mark


class Contract:
    """What contracts share: tests that are inherited, not to be replaced or removed without a reason.

    Example:
        >>> from relay_core.testing import PluginContract
        >>> class Broken(PluginContract):
        ...     test_runtimes_are_isolated = None
        >>> Broken().test_no_silent_overrides()
        Traceback (most recent call last):
        AssertionError: Broken changes the contract: test_runtimes_are_isolated is removed; use ...
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a class that takes out the very test that watches over the others."""
        super().__init_subclass__(**options)
        if _META in vars(cls):
            raise UsageError(f"{cls.__name__} replaces {_META}, which cannot be replaced; take it out")

    def test_no_silent_overrides(self) -> None:
        """Every test of the contract is the contract's own, or replaced with a stated reason."""
        cls = type(self)
        wrong: list[str] = []
        for contract in (base for base in cls.__mro__ if base.__module__.startswith("relay_core.testing.")):
            for name, own in vars(contract).items():
                found = next(vars(base)[name] for base in cls.__mro__ if name in vars(base))
                if not name.startswith("test_") or found is own or hasattr(found, _REASON):
                    continue
                wrong.append(f"{name} is {'replaced' if callable(found) else 'removed'}")
        assert not wrong, (
            f"{cls.__name__} changes the contract: {', '.join(sorted(wrong))}; "
            f'use @contract_override(reason="...") on what you put in its place'
        )
