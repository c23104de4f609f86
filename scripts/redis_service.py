"""The Redis that tests talk to. Knows nothing of the package; needs only Python. It keeps nothing on disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from packages import install
from scratch_server import ScratchServer


class Redis(ScratchServer):
    """A Redis without a file of data."""

    name = "Redis"
    program = "redis-server"
    start_seconds = 30

    def install(self) -> str:
        if shutil.which(self.program) is None:
            install("redis-server")
        return shutil.which(self.program) or sys.exit(
            "services: no Redis found; install it with `apt-get install redis-server`"
        )

    def prepare(self, folder: Path, password: str) -> None:
        """Nothing: all that it needs depends on the port."""

    def command(self, program: str, folder: Path, port: int, password: str) -> list[str]:
        # In a file, as the words of a command line are seen by everybody on the machine.
        config = folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(
            f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\ndir "{folder}"\n'
        )
        return [program, str(config)]

    def answers(self, folder: Path, port: int, password: str) -> bool:
        ask = ["redis-cli", "-p", str(port), "ping"]
        environment = {**os.environ, "REDISCLI_AUTH": password}
        done = subprocess.run(ask, env=environment, capture_output=True, text=True, check=False)
        return done.stdout.strip() == "PONG"

    def uri(self, port: int, password: str) -> str:
        return f"redis://:{password}@127.0.0.1:{port}/0"
