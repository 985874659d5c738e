"""Prints what Frostline and its extra [serve] require, with TensorFlow's package for CPUs alone.

`tensorflow-cpu` is the same TensorFlow, so it gets the version that constraints.txt has for
`tensorflow`. Frostline itself is then installed with --no-deps.
"""

import configparser
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
EXTRAS = ("serve",)


def list_requirements(folder: Path = FOLDER) -> list[str]:
    """As pip takes them.

    Args:
        folder: with setup.cfg and constraints.txt.
    """
    settings = configparser.ConfigParser()
    settings.read(folder / "setup.cfg")
    texts = [settings["options"]["install_requires"]]
    texts += [settings["options.extras_require"].get(extra, "") for extra in EXTRAS]
    (version,) = re.findall(r"(?m)^tensorflow==(\S+)$", (folder / "constraints.txt").read_text())
    return [
        f"tensorflow-cpu=={version}" if re.match(r"tensorflow\b(?!-)", line) else line
        for text in texts
        for line in text.split()
    ]


if __name__ == "__main__":
    print("\n".join(list_requirements()))
