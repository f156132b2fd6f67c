"""What all packages are licensed under, as their own metadata say: `make benchmark-licences`.

    python -m benchmarks.licences [--environments .venv] [--output report/figures]

Direct dependencies are listed one by one. Of the packages that these bring along, only those are
named whose licence demands more than a notice: copyleft of any strength, or no open source.

Exit code 1: an environment is not installed, or lacks a package that it requires.
"""

import argparse
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kalecast.project import PROJECT
from kalecast.results import FIGURES, write_results

COMMAND = "make benchmark-licences"
OWN = "kalecast"
PLACES = {"test": "workbench"}
"""Where a group is installed that has no environment of its own name."""
SKIPPED = ("cluster", "neural", "uv")
"""What the workbench has already, what is gigabytes and optional, and what is not installed where
a machine has it."""

MORE_THAN_A_NOTICE = re.compile(r"GPL|MPL|EPL|BUSL|GNU|Mozilla|Propriet")
A_NAME = re.compile(
    r"(Apache|MIT|BSD|0BSD|ISC|MPL|PSF|L?GPL|ZPL|GNU|Mozilla|Business|[23]-[Cc]lause)\b"
)
"""How a licence's name begins; some packages put its whole text in the name's place."""

SHORT = {
    r"Apache( Software)?( License)?,?( Version)?( 2| 2\.0)?": "Apache-2.0",
    r"(The )?MIT license": "MIT",
    "BSD License": "BSD",
    "(BSD 2-Clause|2-Clause BSD)( License)?": "BSD-2-Clause",
    "(BSD 3-Clause|3-Clause BSD)( License)?": "BSD-3-Clause",
    r"ISC License( \(ISCL\))?": "ISC",
    "PSFL|(PSF|Python Software Foundation) License": "PSF-2.0",
    r"Mozilla Public License (\d\.\d).*": r"MPL-\1",
    r"GNU GPLv3\+": "GPL-3.0-or-later",
    r"GNU General Public License \(GPL\)": "GPL",
    r"GNU General Public License v2 or later.*": "GPL-2.0-or-later",
    r"GNU Lesser General Public License v2 or later.*": "LGPL-2.1-or-later",
    r"Business Source License 1\.1": "BUSL-1.1",
}
"""SPDX's names for what packages call the same, whole and in any case. cyclonedx-py, which makes
the bills of materials, gives no such name to a third of the packages, and some it leaves out."""


class MissingError(RuntimeError):
    """An environment, or a package of one, is not there."""


@dataclass(frozen=True)
class Package:
    """A package of an environment."""

    group: str
    name: str
    version: str
    licence: str


def licence(package: Distribution) -> str:
    """The licence by its short name: SPDX's where the package tells it, else the package's own."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classified = [
        line.split(" :: ")[-1]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ") and not line.endswith("OSI Approved")
    ]
    written = (metadata.get("License") or "").strip()
    # A name of its own says more than a classifier such as "BSD License"; a text says less.
    best = [written] if A_NAME.match(written) and "\n" not in written else classified
    return " OR ".join(map(_short, best)) or "not stated"


def _short(name: str) -> str:
    for pattern, short in SHORT.items():
        if found := re.fullmatch(pattern, name, re.IGNORECASE):
            return found.expand(short)
    return name


def direct(group: str, groups: dict[str, list[object]]) -> list[str]:
    """Names that an extra or a group of pyproject.toml requires itself."""
    required = [line for line in groups[group] if isinstance(line, str)]
    return sorted(canonicalize_name(Requirement(line).name) for line in required)


def installed(environments: Path, group: str) -> Mapping[str, Distribution]:
    """Packages of a group's environment by name.

    Raises:
        MissingError: says what to install.
    """
    place = PLACES.get(group, group)
    folders = sorted(environments.glob(f"{place}/lib/python3*/site-packages"))
    if not folders:
        raise MissingError(f"Expected an environment in {environments / place}: make {COMMAND[5:]}")
    found = distributions(path=[str(folder) for folder in folders])
    return {canonicalize_name(package.name): package for package in found if package.name != OWN}


def packages(names: Iterable[str], group: str, there: Mapping[str, Distribution]) -> list[Package]:
    """What is known of some packages of an environment.

    Raises:
        MissingError: names those that it lacks.
    """
    names = list(names)
    if lacking := [name for name in names if name not in there]:
        raise MissingError(f"Expected in the environment {group}: {', '.join(lacking)}")
    return [Package(group, name, there[name].version, licence(there[name])) for name in names]


def collect(environments: Path, pyproject: Path) -> dict[str, object]:
    """What goes into licences.json: direct packages, and what their own dependencies add."""
    content = tomllib.loads(pyproject.read_text())
    groups = content["project"]["optional-dependencies"] | content["dependency-groups"]
    required: list[Package] = []
    brought: dict[tuple[str, str], Package] = {}
    for group in sorted(set(groups) - set(SKIPPED)):
        there = installed(environments, group)
        names = direct(group, groups)
        required += packages(names, group, there)
        for package in packages(sorted(set(there) - set(names)), group, there):
            brought.setdefault((package.name, package.version), package)
    listed = {(package.name, package.version) for package in required}
    others = [package for key, package in sorted(brought.items()) if key not in listed]
    return {
        "direct": [asdict(package) for package in required],
        "brought": len(others),
        "brought_by_licence": dict(Counter(package.licence for package in others).most_common()),
        "brought_asking_more": [
            asdict(package) for package in others if MORE_THAN_A_NOTICE.search(package.licence)
        ],
    }


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--environments", type=Path, default=PROJECT / ".venv")
    parser.add_argument("--pyproject", type=Path, default=PROJECT / "pyproject.toml")
    parser.add_argument("--output", type=Path, default=PROJECT / FIGURES)
    chosen = parser.parse_args(arguments)
    try:
        found = collect(chosen.environments, chosen.pyproject)
    except MissingError as error:
        print(error, file=sys.stderr)
        return 1
    write_results(chosen.output / "licences.json", COMMAND, found)
    print(f"{chosen.output / 'licences.json'}: {found['brought']} packages beside the direct ones")
    return 0


if __name__ == "__main__":
    sys.exit(main())
