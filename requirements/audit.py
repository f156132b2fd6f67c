"""Look up known vulnerabilities of all locked packages.

    python requirements/audit.py [LOCK …] [--service osv|pypi]

pip-audit queries a database of advisories for each package of the locks, at exactly the locked
version; nothing is installed. It says "No known vulnerabilities found" of packages that it could
not look up, too; here they are counted, and one of them is enough not to pass.

The last line is one JSON object. Exit code 0: all looked up, none vulnerable; 1: some are; 3: the
database cannot be reached from here, or does not know some of the packages.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
PIP_AUDIT = "pip-audit==2.10.1"
SMALLEST = "uv"
"""A lock of one package: whether there is a database shows there, before hundreds are queried."""


@dataclass
class AuditResult:
    """What is known of the packages of some locks."""

    looked_up: set[str] = field(default_factory=set)
    not_looked_up: set[str] = field(default_factory=set)
    vulnerable: dict[str, list[str]] = field(default_factory=dict)
    """Advisories by package and version, each with the versions that mend it."""

    def add(self, answer: dict[str, Any]) -> None:
        """Count what pip-audit's JSON says."""
        for package in answer["dependencies"]:
            if "skip_reason" in package:
                self.not_looked_up.add(package["name"])
                continue
            name = f"{package['name']} {package['version']}"
            self.looked_up.add(name)
            if advisories := package["vulns"]:
                self.vulnerable[name] = [_described(advisory) for advisory in advisories]

    @property
    def exit_code(self) -> int:
        """As the module says."""
        return 1 if self.vulnerable else 3 if self.not_looked_up or not self.looked_up else 0


def _described(advisory: dict[str, Any]) -> str:
    fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
    return f"{advisory['id']} (fixed in {fixed})"


def audit(lock: str, service: str) -> dict[str, Any] | None:
    """pip-audit's answer for one lock; None where it got none."""
    uv = subprocess.run([FOLDER / "find_uv.sh"], capture_output=True, text=True, check=True)
    done = subprocess.run(
        [
            *(uv.stdout.strip(), "tool", "run", "--quiet", PIP_AUDIT, "--vulnerability-service"),
            *(service, "--require-hashes", "--disable-pip", "--format", "json"),
            *("--progress-spinner", "off", "--requirement", FOLDER / f"{lock}.txt"),
        ],
        cwd=FOLDER.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        print(f"{lock}: {(done.stderr.strip().splitlines() or ['no answer'])[-1]}")
        return None
    return answer


def main(arguments: Sequence[str] | None = None) -> int:
    """Query, print, and return the exit code."""
    parser = argparse.ArgumentParser(description="Look up known vulnerabilities of the locks.")
    locks = sorted(path.stem for path in FOLDER.glob("*.txt"))
    parser.add_argument("locks", nargs="*", choices=[[], *locks], default=[], metavar="LOCK")
    parser.add_argument("--service", choices=["osv", "pypi"], default="osv")
    given = parser.parse_args(arguments)
    result = AuditResult()
    for lock in sorted(given.locks or locks, key=lambda lock: lock != SMALLEST):
        answer = audit(lock, given.service)
        if answer is None or not any("vulns" in one for one in answer["dependencies"]):
            print("Expected a database of advisories: it cannot be reached from here, so no")
            print("package was looked up. Run this where the internet can be reached.")
            return _end(result, 3)
        result.add(answer)
    return _end(result, result.exit_code)


def _end(result: AuditResult, exit_code: int) -> int:
    for name, advisories in sorted(result.vulnerable.items()):
        print(f"{name}: {'; '.join(advisories)}")
    if result.not_looked_up:
        print(f"Not looked up: {', '.join(sorted(result.not_looked_up))}")
    counts = {name: len(value) for name, value in vars(result).items()}
    print(json.dumps(counts))
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
