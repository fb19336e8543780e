"""The profile of an event with its annotated views, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relay_core.payloads import Encoder, Frozen

__all__ = ["Rearranged", "shown"]


class Rearranged(dict[str, "Frozen"]):
    """Views made of nothing but pieces of a payload as observers see it: they may be shown as they are."""


def shown(profile: dict[str, Any] | None, views: dict[str, Any], encoder: Encoder) -> dict[str, Any] | None:
    """Put views to a profile.

    Args:
        profile: the profile without them.
        views: what `relay_core.annotations.views_of` gave.
        encoder: the runtime's.

    Example:
        >>> from relay_core.payloads import Encoder
        >>> shown({"model_name": "m"}, {"annotated_request": {"api_key": "k"}}, Encoder())
        {'model_name': 'm', 'annotated_request': {'api_key': '[REDACTED]'}}
    """
    if not views:
        return profile
    if type(views) is Rearranged:
        plain: dict[str, Any] = {name: part.value for name, part in views.items()}
    else:
        plain = encoder.tree(encoder.freeze(views))
    return {**profile, **plain} if profile else plain
