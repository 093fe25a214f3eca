"""Bring pages that stand beside their code into the site, and lead every relative link to where its target is there.

mkdocs reads the folder docs/ alone. On the code host the same links work as they are written.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": "index.md",
    "exporter/README.md": "exporter.md",
    "models/README.md": "bundled-models.md",
    "clients/python/README.md": "python-client.md",
    "benchmarks/README.md": "benchmarks.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""The page of the site that each file outside docs/ is, by its path in the repository."""
DECISIONS = "decisions"
IMAGES = {".jpg", ".png", ".svg"}
LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]+)?(\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the decisions in the menu, by their numbers; mkdocs knows no folders there."""
    folder = Path(config.docs_dir) / DECISIONS
    pages = [f"{DECISIONS}/{one.name}" for one in sorted(folder.glob("[0-9]*.md"))]
    (explanation,) = (one["Explanation"] for one in config.nav or [] if "Explanation" in one)
    explanation.append({"Decisions": [f"{DECISIONS}/README.md", *pages]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of other folders, and the images that any page shows from there."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    for file in list(files.documentation_pages()):
        for link in LINK.finditer(file.content_string):
            path = _target(file, link[2])
            if _is_outside(path) and Path(path).suffix in IMAGES and (ROOT / path).is_file():
                place = _image(path)
                if place not in files.src_uris:
                    files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page with each link to a file of the repository led to the site, or to the code host."""

    def lead(link: re.Match[str]) -> str:
        place = _place(_target(page.file, link[2]), files, config)
        if "://" not in place:
            place = posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")
        return f"{link[1]}{place}{link[3] or ''}{link[4]}"

    return LINK.sub(lead, markdown)


def _target(file: File, link: str) -> str:
    """Return the path in the repository that a page's link names."""
    # A page that another hook makes has no source: its links are those of a page of docs/.
    source = (
        Path(file.abs_src_path).parent.relative_to(ROOT).as_posix() if file.abs_src_path else "docs"
    )
    return posixpath.normpath(posixpath.join(source, link))


def _place(path: str, files: Files, config: MkDocsConfig) -> str:
    """Return where a file of the repository is: a path in the site, or its address at the code host."""
    if path in PAGES:
        return PAGES[path]
    if not _is_outside(path) and path.removeprefix("docs/") in files.src_uris:
        return path.removeprefix("docs/")
    if _image(path) in files.src_uris:
        return _image(path)
    if not (ROOT / path).exists():
        return path  # mkdocs reports it
    return f"{config.repo_url}/blob/main/{path}"


def _is_outside(path: str) -> bool:
    return not path.startswith("docs/")


def _image(path: str) -> str:
    return f"outside/{path}"
