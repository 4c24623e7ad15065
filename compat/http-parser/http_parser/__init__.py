"""What pymesos needs of http-parser; see `http_parser.http`."""
