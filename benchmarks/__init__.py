"""What the package promises, measured."""

from __future__ import annotations
