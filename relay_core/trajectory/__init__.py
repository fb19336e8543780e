"""Read event files back: `load(path)` gives the tree of scopes that a program went through.

Example:
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp(), "events.jsonl")
    >>> _ = file.write_text(
    ...     '{"kind":"scope","scope_category":"start","uuid":"a","name":"trip","category":"agent",'
    ...     '"timestamp":"2026-01-01T00:00:00Z"}'
    ... )
    >>> trip = load(file).roots[0]
    >>> trip.name, trip.status
    ('trip', 'open')
"""

from __future__ import annotations

from relay_core.trajectory.load import load, read
from relay_core.trajectory.tree import Mark, Node, Tokens, Trajectory, TrajectoryError

__all__ = ["Mark", "Node", "Tokens", "Trajectory", "TrajectoryError", "load", "read"]
