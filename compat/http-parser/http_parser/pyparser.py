"""http-parser's pure Python HttpParser: here it is the same one."""

from __future__ import annotations

from http_parser.parser import HttpParser

__all__ = ["HttpParser"]
