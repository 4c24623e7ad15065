"""The documentation as a website: `scripts/docs` builds it."""

from importlib.metadata import version as installed

project = "owmesos"
release = version = installed("owmesos")
copyright = "the owmesos authors"  # noqa: A001  (Sphinx's own name)
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid"]
source_suffix = {".md": "markdown"}
master_doc = "docs/site/index"
include_patterns = [
    "*.md",
    "docs/*.md",
    "docs/decisions/*.md",
    "docs/how-to/*.md",
    "docs/site/*.md",
    "deploy/*.md",
    "deploy/kubernetes/*.md",
    "vagrant/*.md",
]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
html_theme = "furo"
html_title = "owmesos"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
