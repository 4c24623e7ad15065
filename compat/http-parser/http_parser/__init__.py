"""http-parser's HttpParser, in Python on h11; see `http_parser.parser`."""
