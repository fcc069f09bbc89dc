"""Many requests with one expired session, against real servers."""

from __future__ import annotations
