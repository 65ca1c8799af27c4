"""An HTTP origin server that tests script: it serves true files truly, counts what it sent, and errs as it is told."""

from .answers import Answer, Behaviour, End, Request, Silence, Span, honest
from .files import File
from .server import Exchange, Origin
from .tls import Authority

__all__ = [
    "Answer",
    "Authority",
    "Behaviour",
    "End",
    "Exchange",
    "File",
    "Origin",
    "Request",
    "Silence",
    "Span",
    "honest",
]
