"""Projections by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, cast

if TYPE_CHECKING:
    from relay_plugin_observability.projection import Projection

__all__ = ["PROJECTIONS", "ProjectionName", "projection_by_name"]

ProjectionName = Literal["gen_ai", "full", "openinference"]
PROJECTIONS: Final = ("gen_ai", "full", "openinference")


def projection_by_name(name: ProjectionName, *, capture_content: bool | None = None) -> Projection:
    """Make a projection.

    Args:
        name: of the convention.
        capture_content: show messages, arguments and results. Where nobody says, ``gen_ai`` does not and
            ``openinference`` does, as their conventions have it; ``full`` always does.

    Example:
        >>> projection_by_name("full").name
        'full'
    """
    if name == "full":
        from relay_plugin_observability.otel.full import FullProjection  # noqa: PLC0415  # only the one in use

        return FullProjection()
    if name == "openinference":
        from relay_plugin_observability.openinference import OpenInferenceProjection  # noqa: PLC0415  # see above

        return cast("Projection", OpenInferenceProjection(capture_content=capture_content is not False))
    from relay_plugin_observability.otel.gen_ai import GenAiProjection  # noqa: PLC0415  # see above

    return GenAiProjection(capture_content=bool(capture_content))
