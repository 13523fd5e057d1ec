"""What this project's documents say that can be checked: their commands, links and headings. Nothing is run here."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PATTERNS = ("*.md", "docs/**/*.md", "infra/*.md", "tests/*.md")
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for pattern in PATTERNS for path in ROOT.glob(pattern))
PAGES = [document for document in DOCUMENTS if document not in ("CHANGELOG.md", "tests/README.md")]
"""What tells people what to do; the other two tell what was done, and what is tested."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORDS_OF_THE_SHELL = {"do", "then", "else", "{"}
NO_COMMANDS = {"for", "done", "fi", "}", "output"}
"""What a piece of a script may begin with that runs nothing of its own."""


@dataclass(frozen=True)
class Command:
    """One command of a document: what a shell would run, without what is around it."""

    document: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


def read(document: str) -> str:
    """Its whole text."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, language: str) -> list[str]:
    """The content of its fenced blocks in `language`."""
    return [content for found, content in FENCE.findall(read(document)) if found == language]


def commands(document: str) -> list[Command]:
    """Every command in its shell blocks, in order; `$(…)` and the parts of a pipe are commands of their own."""
    return [Command(document, words) for block in blocks(document, "sh") for words in _split(block)]


def all_commands() -> dict[str, Command]:
    """Every command of all pages, once, by its text."""
    return {str(command): command for page in PAGES for command in commands(page)}


def words_of_job(command: Command) -> list[str] | None:
    """The arguments of `job` in it, with what stands for a value of the reader's filled in; None for other commands."""
    words = list(command.words)
    if words[:2] == ["docker", "run"] and "--entrypoint" not in words:
        words = ["job", "run", *words[words.index("job:local") + 1 :]]  # the image's entry point is job run
        words = [f"manifests/jobs/{word}" if word.endswith(".json") else word for word in words]
    if words[0] != "job":
        return None
    filled = (re.sub(r"\$\(output \w+\)|\$bucket|my-bucket", "bucket", word) for word in words[1:])
    return [word.replace("$name", "adam") for word in filled]


def _split(script: str) -> list[tuple[str, ...]]:
    plain = re.sub(r"(^|[ \t]+)#.*$", "", script.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(plain, posix=True, punctuation_chars="();|&\n")
    lexer.commenters, lexer.whitespace, lexer.whitespace_split = "", " \t\r", True
    found: list[tuple[str, ...]] = []
    words: list[str] = []
    for token in [*lexer, "\n"]:
        if set(token) <= set("();|&\n"):
            found += [tuple(words)] if words else []
            words = []
        elif words or not (token in WORDS_OF_THE_SHELL or re.match(r"\w+=", token)):
            words.append(token)
    return [words for words in found if words[0] not in NO_COMMANDS]


def mentions(document: str) -> list[tuple[str, ...]]:
    """What begins with `job ` in its running text, between backticks."""
    text = FENCE.sub("", read(document))
    return [tuple(found.split()) for found in re.findall(r"`(job [^`]*)`", text)]


def anchors(document: str) -> set[str]:
    """What a link into it may name, by GitHub's rule: lower case, blanks become dashes, punctuation goes."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", read(document)), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def links(document: str) -> list[str]:
    """The targets of its links and pictures."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", read(document)))
    return re.findall(r"\]\(([^)\s]+)\)", text)


def find_target(document: str, link: str) -> Path:
    """The file or folder that a relative link leads to."""
    name = link.partition("#")[0]
    return (ROOT / document).parent / name if name else ROOT / document
