"""Links and anchors, as a reader of the repository's pages finds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.capabilities.project_kit import Project
from vespera_agents.capabilities.checks.links import heading_anchors

GUIDE = """# The guide
## Set up
## Set up
## `vespera run` & its *options*!
Setext heading
--------------
<a id="by-hand"></a>
### Named {#given-name}
"""
GOOD = {
    "a file": "[x](docs/guide.md)",
    "a file from here": "[x](./docs/guide.md)",
    "a folder": "[x](docs/) [y](docs)",
    "the root": "[x](.)",
    "an anchor": "[x](docs/guide.md#set-up)",
    "the second of two equal headings": "[x](docs/guide.md#set-up-1)",
    "a heading with code and marks": "[x](docs/guide.md#vespera-run--its-options)",
    "an underlined heading": "[x](docs/guide.md#setext-heading)",
    "an anchor in html": "[x](docs/guide.md#by-hand)",
    "an anchor with a name of its own": "[x](docs/guide.md#given-name)",
    "an anchor of the same file": "# Here\n[x](#here)",
    "a line of a program": "[x](a.py#L3)",
    "a reference": "[x][y]\n\n[y]: docs/guide.md",
    "a name with a space": "[x](<docs/a name.md>) [y](docs/a%20name.md)",
    "a picture": "![x](docs/picture.svg)",
    "html": '<a href="docs/guide.md"><img src="docs/picture.svg"></a>',
    "an address": "[x](https://example.org/none.md#none) [y](mailto:a@example.org) <https://example.org>",
    "an address without a scheme": "[x](//example.org/none)",
    "the repository's own pages": "[x](../../issues) [y](../../releases/latest)",
    "a link from the site's root": "[x](/docs/guide.md)",
    "code": "`[x](none.md)`\n\n    [x](none.md)\n\n```\n[x](none.md)\n```",
    "a text fragment": "[x](docs/guide.md#:~:text=up)",
    "what git does not know yet": "[x](new.md)",
}
BAD = {
    "a missing file": ("[x](none.md)", "README.md:1: none.md: no such file"),
    "a missing file in a paragraph": ("one\ntwo [x](none.md)", "README.md:2: none.md: no such file"),
    "a missing file after a hard break": ("one\\\ntwo  \nthree [x](none.md)", "README.md:3: "),
    "a missing file in a list": ("- a\n- b [x](none.md)", "README.md:2: "),
    "a missing file in a table": ("| a |\n|---|\n| b |\n| [x](none.md) |", "README.md:4: "),
    "a missing picture": ("![x](none.svg)", "README.md:1: none.svg: no such file"),
    "a missing picture in html": ('<p>\n<img src="none.svg">\n</p>', "README.md:2: none.svg"),
    "a missing file in inline html": ('see\n<a href="none.md">x</a>', "README.md:2: none.md"),
    "a missing anchor": ("[x](docs/guide.md#none)", "docs/guide.md has no heading for #none"),
    "a missing anchor of the same file": ("[x](#none)", "README.md has no heading for #none"),
    "a third of two equal headings": ("[x](docs/guide.md#set-up-2)", "no heading for #set-up-2"),
    "an anchor with capitals": ("[x](docs/guide.md#Set-Up)", "write #set-up"),
    "a file of another case": ("[x](docs/Guide.md)", "no such file"),
    "out of the project": ("[x](../elsewhere.md)", "leads out of the project"),
    "what git ignores": ("[x](ignored.md)", "git ignores it"),
    "a missing reference": ("[x][y]\n\n[y]: none.md", "none.md: no such file"),
    "what is no address": ('<a href="http://[oops">x</a>', "this is no address"),
    "from the site's root": ("[x](/none.md)", "/none.md: no such file"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(
        tmp_path_factory.mktemp("links") / "project",
        {
            "docs/guide.md": GUIDE,
            "docs/a name.md": "",
            "docs/picture.svg": "",
            "a.py": "",
            ".gitignore": "ignored.md\n",
        },
    )


@pytest.mark.parametrize("case", GOOD)
def test_a_link_that_leads_somewhere_is_left_alone(case: str, project: Project) -> None:
    project.write({"README.md": GOOD[case], "ignored.md": "", "new.md": ""})
    assert project.check("links") == (0, ["links: clean"])


@pytest.mark.parametrize("case", BAD)
def test_a_link_that_leads_nowhere_is_found_in_its_line(case: str, project: Project) -> None:
    text, said = BAD[case]
    project.write({"README.md": text, "ignored.md": ""})
    status, lines = project.check("links")
    assert status == 1
    assert len(lines) == 2, lines
    assert said in lines[0]


def test_documents_are_those_of_the_root_and_of_docs_and_links_start_from_their_own_folder(tmp_path: Path) -> None:
    project = Project(
        tmp_path,
        {
            "CHANGELOG.md": "[x](none-1.md)",
            "docs/deep/a.md": "[up](../../src/code.py) [x](none-2.md) [b](b.md#b) [root](/deep/b.md)",
            "docs/deep/b.md": "# B",
            "src/code.py": "",
            "src/notes.md": "[x](none-3.md)",
        },
    )
    lines = project.check("links")[1]
    assert [line.split(" ")[0] for line in lines[:-1]] == ["CHANGELOG.md:1:", "docs/deep/a.md:1:"]


def test_a_project_without_documents_cannot_be_judged(tmp_path: Path) -> None:
    status, lines = Project(tmp_path, {"a.py": ""}).check("links")
    assert status == 2
    assert "write a README.md" in lines[0]


def test_anchors_are_those_that_a_browser_finds() -> None:
    assert heading_anchors('# A b!\n\ntext <span id="c">x</span>\n\n<div name="d">\n</div>\n\n# A_b é\n') == {
        "a-b",
        "c",
        "d",
        "a_b-é",
    }
