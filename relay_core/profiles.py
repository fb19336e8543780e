"""The profile of an event with its annotated views, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_core.payloads import Encoder

__all__ = ["Rearranged", "shown"]


class Rearranged(dict[str, Any]):
    """Views made of nothing but pieces of a payload as observers see it: they may be shown and written as they are.

    Attributes:
        json: what is written, if that is known.
    """

    json: bytes | None = None  # no __init__, which would take longer than all the rest


def shown(
    profile: dict[str, Any] | None, views: dict[str, Any], encoder: Encoder, *, is_small: bool = False
) -> dict[str, Any] | None:
    """Put views to a profile.

    Args:
        profile: the profile without them.
        views: what `relay_core.annotations.views_of` gave.
        encoder: the runtime's.
        is_small: the payload was; then so are they.

    Example:
        >>> from relay_core.payloads import Encoder
        >>> shown({"model_name": "m"}, {"annotated_request": {"api_key": "k"}}, Encoder())
        {'model_name': 'm', 'annotated_request': {'api_key': '[REDACTED]'}}
    """
    if not views:
        return profile
    plain: dict[str, Any] | None = views if type(views) is Rearranged else None
    if plain is None and is_small:
        [plain] = encoder.settled([views]) or [None]
    if plain is None:
        plain = encoder.tree(encoder.freeze(views))
    return {**(profile or {}), **(plain or {})}
