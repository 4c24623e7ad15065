"""Builds leave nothing in the source tree: what they need on the way is in a folder that ends with them.

The metadata is in pyproject.toml.
"""

from tempfile import TemporaryDirectory

from setuptools import setup

with TemporaryDirectory(prefix="http-parser-build-") as folder:
    setup(options={"build": {"build_base": folder}, "egg_info": {"egg_base": folder}})
