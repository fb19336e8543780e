"""The arguments of a function as policy sees them: by name, as a model would give them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from relay_core.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Arguments"]


class Arguments:
    """What a function is called with.

    Args:
        value: what NAT hands to the function.
        schema: NAT's schema of the function's input.

    Attributes:
        shown: the arguments by name.

    Example:
        >>> from pydantic import BaseModel
        >>> class City(BaseModel):
        ...     name: str
        ...     days: int = 1
        >>> arguments = Arguments(City(name="Oslo"), City)
        >>> arguments.shown, arguments.back({"name": "Bergen"})
        ({'name': 'Oslo', 'days': 1}, City(name='Bergen', days=1))
    """

    __slots__ = ("_field", "_fields", "_value", "shown")

    def __init__(self, value: Any, schema: type[BaseModel] | None) -> None:
        self._value = value
        self._field: str | None = None
        self._fields: dict[str, Any] | None = getattr(type(value), "model_fields", None)
        if self._fields is not None:
            self.shown: Any = {name: getattr(value, name) for name in self._fields}
        elif isinstance(value, dict):
            self.shown = value
        else:
            names = list(getattr(schema, "model_fields", None) or ())
            self._field = names[0] if len(names) == 1 else "value"
            self.shown = {self._field: value}

    def back(self, request: Any) -> Any:
        """Give what the function is called with for a request that policy may have edited: the same object if not.

        Raises:
            UsageError: the edit has not the form of the arguments.
            ValidationError: of pydantic's, the function's schema refuses the edit.
        """
        if request is self.shown:
            return self._value
        if not isinstance(request, dict):
            raise UsageError(f"the request of a NAT function is a dict of its arguments, not {type(request).__name__}")
        if self._fields is not None:
            return type(self._value).model_validate({**self.shown, **request})
        if self._field is None:
            return request
        if self._field not in request:
            raise UsageError(f"the request of this NAT function needs its argument {self._field!r}")
        return request[self._field]
