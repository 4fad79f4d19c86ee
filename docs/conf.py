"""How Sphinx builds the site (`make docs`): the pages are MyST Markdown, the API is read from the compiled package."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]

from khronos_fast import __version__  # noqa: E402

project = "khronos_fast"
author = "The khronos_fast authors"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstring_markup",
    "stub_signatures",
]
exclude_patterns = ["extensions"]

html_theme = "furo"
html_title = f"khronos_fast {version}"
html_show_sourcelink = False
html_show_sphinx = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# The newer autodoc of Sphinx 9 asks for the signature of an object that has none at run time, and drops the answer.
autodoc_use_legacy_class_based = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# The prompts and what a session prints stay behind when an example is copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

# What a docstring or a page names and is not there is a mistake. Types in signatures may be private ones, or those of
# other packages, whose inventories would have to be fetched.
nitpicky = True
nitpick_ignore_regex = [(r"py:(?!obj).*", r".*")]
