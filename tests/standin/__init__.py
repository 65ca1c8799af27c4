"""A host without plugins, of the shape of the ComfyWorkflows launcher, with the world that it imports from."""

from .processes import HOST, PROJECT_STATES, StandIn
from .world import MODEL, World

__all__ = ["HOST", "MODEL", "PROJECT_STATES", "StandIn", "World"]
