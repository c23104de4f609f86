"""How fast, and in how much memory, a folder of MIND's size becomes files that the sources take.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/mind.py [--times 200]

The folder holds mind_small_sample: 2,000 news and 5,000 behaviors, which are repeated under other ids of news, users
and impressions. MINDlarge_train has some 100,000 news and 2.2 million behaviors. The conversion runs in a process of
its own, so that its peak memory is not that of making the folder.
"""

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from examples.mind.make_raw import write_raw
from recsys_text.sources.mind import convert


def repeat(sample: Path, folder: Path, times: int) -> None:
    """Each copy has its number before every id, so that nothing of it is known from another."""
    folder.mkdir()
    for name, pattern in (("news.tsv", r"^N(?=\d)"), ("behaviors.tsv", r"(?<=[\t ])[NU](?=\d)|^(?=\d)")):
        text = (sample / name).read_text(encoding="utf-8")
        ids = re.compile(pattern, re.MULTILINE)
        with open(folder / name, "w", encoding="utf-8") as file:
            for number in range(1, times + 1):
                file.write(ids.sub(rf"\g<0>{number}0", text))


def measure(folder: Path) -> None:
    """Runs in a process of its own; prints one line of JSON."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    result = convert([folder / "raw"], folder / "out")
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak_mib": peak // 1024, "before_mib": before // 1024, "rows": result.rows}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure)
        return
    with tempfile.TemporaryDirectory(prefix="recsys-text-mind-") as scratch:
        folder = Path(scratch)
        write_raw(Path(os.environ["RECSYS_TEXT_DATA"]) / "mind_small_sample", folder / "sample")
        repeat(folder / "sample", folder / "raw", arguments.times)
        size = sum(path.stat().st_size for path in (folder / "raw").iterdir())
        command = [sys.executable, __file__, "--measure", str(folder)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rows = found["rows"]
    print(f"{size / 2**20:,.0f} MiB of text, {rows['items']:,} news, {rows['impressions']:,} impressions")
    rate = rows["impressions"] / found["seconds"]
    print(f"{rows['events']:,} events; {found['seconds']:.1f} s, {rate:,.0f} behaviors/s")
    print(f"peak {found['peak_mib']:,} MiB of resident memory, {found['before_mib']:,} MiB of it before the first line")
    machine = f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine}, {datetime.now(UTC):%Y-%m-%d}")


if __name__ == "__main__":
    main()
