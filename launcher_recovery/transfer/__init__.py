"""The resumable, verified download."""

from launcher_recovery.transfer.download import download

__all__ = ["download"]
