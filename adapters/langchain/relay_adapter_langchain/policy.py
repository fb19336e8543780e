"""What wrapped models and tools have in common: whose policy they are under, and how their classes are made."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import relay_core
from relay_core.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from relay_core.runtime import Relay

    Wrapped = TypeVar("Wrapped", bound=BaseModel)

__all__ = ["Controlled", "OnBlock", "Policy", "checked", "controlled"]

OnBlock = Literal["message", "raise"]

_runtimes: weakref.WeakValueDictionary[int, Relay] = weakref.WeakValueDictionary()


class Policy(NamedTuple):
    """Whose policy an object is under.

    Attributes:
        relay: the runtime.
        on_block: what a blocked call gives.
    """

    relay: Relay
    on_block: OnBlock

    def __reduce__(self) -> tuple[Any, ...]:
        key = 0 if self.relay is relay_core.default else id(self.relay)
        if key:
            _runtimes[key] = self.relay
        return _policy_again, (key, self.on_block)

    def __deepcopy__(self, memo: dict[int, Any]) -> Policy:
        return self


def _policy_again(key: int, on_block: OnBlock) -> Policy:
    """Unpickle: the same runtime in the same process, else the default one."""
    return Policy(_runtimes.get(key) or relay_core.default, on_block)


def checked(function: str, relay: Relay | None, on_block: OnBlock) -> Policy:
    """Make a policy of what a user has given.

    Raises:
        UsageError: `on_block` has another value.
    """
    if on_block not in ("message", "raise"):
        raise UsageError(f'{function}: on_block is "message" or "raise", not {on_block!r}')
    return Policy(relay if relay is not None else relay_core.default, on_block)


class Controlled:
    """What the class of a wrapped object has before the class that the object had.

    Attributes:
        __relay_policy__: whose policy it is under.
        __relay_bare__: the class that the object had.
    """

    __relay_policy__: Policy
    __relay_bare__: type[BaseModel]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The class is made at run time and has the name of another one: it is pickled as what it is made of.
        state: Any = self.__getstate__()
        return _again, (type(self).__mro__[1], type(self).__relay_bare__, type(self).__relay_policy__), state


def _again(control: type[Controlled], bare: type[BaseModel], policy: Policy) -> Any:
    cls: Any = _class_of(control, bare, policy)
    return cls.__new__(cls)


def controlled(control: type[Controlled], original: Wrapped, policy: Policy) -> Wrapped:
    """Copy an object and put the copy under policy: an instance of the same class, with the same fields."""
    bare = getattr(type(original), "__relay_bare__", type(original))
    made = original.model_copy()
    object.__setattr__(made, "__class__", _class_of(control, bare, policy))
    return made


def _class_of(control: type[Controlled], bare: type[Any], policy: Policy) -> type[Any]:
    """Find or make the class; it lives as long as its instances, and keeps the runtime alive as long."""
    for known in bare.__subclasses__():
        facts = vars(known)
        if facts.get("__relay_bare__") is bare and facts["__relay_policy__"] == policy and known.__mro__[1] is control:
            return known
    namespace = {
        "__module__": bare.__module__,
        "__qualname__": bare.__qualname__,  # LangChain tells providers apart by the names of classes
        "__doc__": bare.__doc__,
        "__relay_bare__": bare,
        "__relay_policy__": policy,
    }
    metaclass: Any = type(bare)
    return metaclass(bare.__name__, (control, bare), namespace)
