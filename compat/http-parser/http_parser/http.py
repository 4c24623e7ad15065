"""Where http-parser's users import HttpParser from."""

from __future__ import annotations

from http_parser.parser import HTTP_BOTH, HTTP_REQUEST, HTTP_RESPONSE, HttpParser

__all__ = ["HTTP_BOTH", "HTTP_REQUEST", "HTTP_RESPONSE", "HttpParser"]
