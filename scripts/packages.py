"""Debian's packages, installed where root has none. Needs only Python."""

import os
import shutil
import subprocess
import sys


def install(package: str) -> None:
    """Tries to; whoever calls looks whether what it needs is there then."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", package]
    if subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode:
        subprocess.run(["apt-get", "update", "-q"], env=environment, stdout=sys.stderr, check=False)
        subprocess.run(command, env=environment, stdout=sys.stderr, check=False)
