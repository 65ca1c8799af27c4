"""Live events: from the outbox to the clients of a Socket.IO server, and what a client has missed."""

from launcher_recovery.web.live.bridge import MAX_REPLAY, Live

__all__ = ["MAX_REPLAY", "Live"]
