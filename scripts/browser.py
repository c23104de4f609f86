"""Sees to it that the Chromium is there in which tests open pages. Knows nothing of the package; needs only Python.

    python scripts/browser.py

Installs Debian's package where root has none; elsewhere it says how. The tests that need it skip without it.
"""

import os
import shutil
import subprocess

PACKAGE = "chromium"


def install() -> str:
    """Installs the package; returns what apt said when it failed, and nothing when it did not."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", PACKAGE]
    said = ""
    for before in (None, ["apt-get", "update", "-q"]):
        if before is not None:
            subprocess.run(before, env=environment, capture_output=True, check=False)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return ""
        said = done.stderr.strip()
    return said


def main() -> None:
    if found := shutil.which(PACKAGE):
        print(f"browser: {found}")
        return
    reason = "no root, or no apt-get"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        reason = install()
        if not reason:
            print(f"browser: installed {shutil.which(PACKAGE)}")
            return
    print(f"browser: no {PACKAGE} ({reason}), so tests in a browser are skipped; `apt-get install {PACKAGE}` brings it")


if __name__ == "__main__":
    main()
