"""The package and its man pages; what tools need to know stands in pyproject.toml."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from setuptools import Command, Distribution, find_namespace_packages, find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
VERSION = re.findall(
    '__version__ = "(.+)"', (ROOT / "jobrunner" / "__init__.py").read_text(encoding="utf-8")
)[0]
DESCRIPTION = "A distributed workflow conductor whose TaskFlow flows resume where they stopped"

REQUIRES = [
    "alembic>=1.13",
    "argparse-manpage>=4.6",
    "kazoo>=2.10",
    "psutil>=5.9",
    "pydantic>=2.7",
    "pymysql>=1.1",
    "redis>=5.3",
    "rich>=13.7",
    "shtab>=1.7",
    "sqlalchemy>=2.0.30",
    "stevedore>=5.2",
    "sqlalchemy-utils>=0.41; python_version < '3.11'",  # TaskFlow's tables need it before 6.5
    "taskflow>=6.0.1; python_version < '3.11'",
    "taskflow>=6.5; python_version >= '3.11'",
    "tomli>=2.0; python_version < '3.11'",
]

POSTGRESQL = ["psycopg[binary]>=3.2.11"]


class BuildManPages(Command):
    """Write a man page for jobrunner and one for each of its commands, from the parsers that read their arguments.

    The parsers need nothing but the standard library, so this works where the package's requirements are missing,
    as in the isolated environment in which pip builds.
    """

    description = "write the man pages"
    user_options = [("directory=", "d", "where to write them [build/man]")]

    def initialize_options(self) -> None:
        self.directory: str | None = None

    def finalize_options(self) -> None:
        self.directory = self.directory or str(ROOT / "build" / "man")

    def run(self) -> None:
        from argparse_manpage.manpage import Manpage

        assert self.directory is not None
        directory = Path(self.directory)
        directory.mkdir(parents=True, exist_ok=True)
        for stale in directory.glob("jobrunner*.1"):
            stale.unlink()
        commands = list(documented_commands(jobrunner_parser()))
        names = [name for name, _, _ in commands]
        for name, summary, parser in commands:
            page = Manpage(parser, format="single-commands-section")
            page.prog, page.description = name, summary
            page.source, page.manual = f"jobrunner {VERSION}", "jobrunner manual"
            others = [other for other in names if other != name] if name == "jobrunner" else ["jobrunner"]
            page.add_section("see also", "=", ", ".join(f"\\fB{escape(other)}\\fR(1)" for other in others))
            (directory / f"{name}.1").write_text(str(page), encoding="utf-8")


class BuildPyWithManPages(build_py):
    """Build the modules, and the man pages that go with them to share/man/man1."""

    def run(self) -> None:
        self.run_command("build_manpages")
        directory = Path(self.get_finalized_command("build_manpages").directory)
        pages = sorted(str(page.relative_to(ROOT)) for page in directory.glob("*.1"))
        self.distribution.data_files = [("share/man/man1", pages)]
        super().run()


class ManPagesAlsoEditable(Distribution):
    """Makes an editable installation install the man pages as well.

    It would install data files if ``has_data()`` were true, but distributions call that ``has_data_files()``.
    """

    has_data = Distribution.has_data_files


def jobrunner_parser() -> argparse.ArgumentParser:
    sys.path.insert(0, str(ROOT))  # the tree that is built, whatever is installed
    try:
        from jobrunner.cli.main import build_parser
    finally:
        sys.path.remove(str(ROOT))
    return build_parser()


def documented_commands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """The name, summary and parser of jobrunner itself, then those of its commands."""
    yield "jobrunner", DESCRIPTION[0].lower() + DESCRIPTION[1:], parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:  # aliases and hidden commands are not among them
                summary = (choice.help or "").rstrip(".")
                yield f"jobrunner-{choice.dest}", summary, action.choices[choice.dest]


def escape(text: str) -> str:
    return text.replace("-", "\\-")


setup(
    name="jobrunner",
    version=VERSION,
    description=DESCRIPTION,
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: System :: Distributed Computing",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["jobrunner", "jobrunner.*"]),
        # Plugin directories are no packages themselves: flows spans all that there are.
        *find_namespace_packages(include=["flows.builtin*"], exclude=["*__pycache__*"]),
    ],
    include_package_data=False,
    package_data={
        # Whatever is no module of a package: Lua scripts, migrations, the templates of new plugins.
        "jobrunner": ["py.typed", "**/*.lua", "**/*.mako", "**/*.ini", "**/*.txt", "**/versions/*.py"]
    },
    install_requires=REQUIRES,
    extras_require={
        "postgresql": POSTGRESQL,
        "dev": [
            *POSTGRESQL,
            # The four that TaskFlow's own test suite for persistence backends needs.
            "etcd3gw>=2.3",
            "fixtures>=4.1",
            "oslotest>=5.0",
            "testtools>=2.7",
            "hypothesis>=6.100",
            "import-linter>=2.0",
            "mypy>=1.10",
            "pytest>=9.0",
            "pytest-xdist>=3.6",
            "ruff>=0.5",
        ],
    },
    entry_points={
        "console_scripts": ["jobrunner = jobrunner.__main__:entry"],
        "jobrunner.boards": [
            "redis = jobrunner.boards.redis:RedisBoard",
            "sql = jobrunner.boards.sql:SqlBoard",
        ],
        "pytest11": ["jobrunner = jobrunner.plugins.pytest_plugin"],
        "taskflow.jobboards": [
            "jobrunner-redis = jobrunner.boards.taskflow.drivers:redis_board",
            "jobrunner-sql = jobrunner.boards.taskflow.drivers:sql_board",
        ],
        # TaskFlow looks for what stands before the first "+" of jobrunner+sqlite:///path.
        "taskflow.persistence": ["jobrunner = jobrunner.persistence.journal.backend:JournalBackend"],
    },
    distclass=ManPagesAlsoEditable,
    cmdclass={"build_manpages": BuildManPages, "build_py": BuildPyWithManPages},
)
