"""Write environment.yml, the workbench for conda, with the versions of its lock."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def locked(lock: str) -> dict[str, str]:
    """The pins of a lock of requirements/, markers included, by name."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    pins = re.findall(r"^([a-z0-9._-]+)(==[^\\\n]+?) *\\?$", text, flags=re.MULTILINE)
    return {name: name + pin for name, pin in pins}


def chosen(extra: str) -> list[str]:
    """Names of the packages that the library requires directly with one of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"][extra]
    return sorted(re.split(r"[^A-Za-z0-9._-]", line)[0] for line in lines)


def render() -> str:
    """The text of environment.yml."""
    pins = locked("workbench")
    pip = pins.pop("pip").replace("==", "=")
    direct = [name for name in chosen("workbench") if name != "pip"]
    lines = [
        "# The workbench for conda users, with the versions of requirements/workbench.txt.",
        "# Made by `requirements/lock.sh`; use it with: conda env create -f environment.yml",
        "name: kalecast",
        "channels:",
        "  - conda-forge",
        "dependencies:",
        "  - python=3.12",
        f"  - {pip}",
        "  - pip:",
        "      # direct dependencies",
        *[f"      - {pins[name]}" for name in direct],
        "      # transitive dependencies",
        *[f"      - {pins[name]}" for name in sorted(pins.keys() - direct)],
        "      # the library itself",
        "      - -e .",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(render())
