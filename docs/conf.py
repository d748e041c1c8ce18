"""Sphinx settings: ``make docs`` builds the site into ``outputs/docs``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import latadj  # noqa: E402 the line above finds it

# The package imports its public names on first use, and autodoc only documents names that a module has.
for name in latadj.__all__:
    setattr(latadj, name, getattr(latadj, name))

project = "latadj"
author = "the latadj developers"
project_copyright = "the latadj developers"
release = version = latadj.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "option_reference",
    "parameter_lists",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_ext", "Thumbs.db"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"latadj {release}"
html_show_sourcelink = False
