"""Take docs/images/asset-graph.png: the demo's asset graph, as the real Dagster UI draws it.

    make screenshot                       # after make demo; needs Chromium (Debian: apt-get install chromium)

Starts dagster-webserver on a free loopback port with the demo's DAGSTER_HOME, lets headless Chromium open the page,
and ends both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(url: str, server: subprocess.Popen[bytes], seconds: float) -> None:
    """Return once ``url`` answers; SystemExit if the server ends or ``seconds`` pass before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"dagster-webserver ended with code {server.returncode} before it served {url}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    sys.exit(f"dagster-webserver did not serve {url} within {seconds:.0f} s")


def browser() -> str:
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    sys.exit(f"none of {', '.join(BROWSERS)} is installed. Remedy (Debian): apt-get install chromium")


def photograph(url: str, target: Path, width: int, height: int, budget_ms: int) -> None:
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--virtual-time-budget={budget_ms}",
            f"--screenshot={target}", url,
        ]  # fmt: skip
        subprocess.run(command, check=True, timeout=180, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "demo-data", help="what `make demo` made")
    parser.add_argument("--page", default="/asset-groups", help="path in the UI")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images/asset-graph.png")
    parser.add_argument("--size", default="1500x560", help="WIDTHxHEIGHT in pixels")
    parser.add_argument("--budget-ms", type=int, default=20_000, help="how long the page may draw, in its own time")
    args = parser.parse_args()
    home = args.data.resolve() / "dagster_home"
    if not (home / "dagster.yaml").exists():
        sys.exit(f"{home} is not there. Remedy: make demo")
    width, height = map(int, args.size.split("x"))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    port = free_port()
    server = subprocess.Popen(
        [Path(sys.executable).with_name("dagster-webserver"), "-w", ROOT / "workspace.yaml",
         "-h", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "1"},
        cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/server_info", server, seconds=120)
        photograph(f"http://127.0.0.1:{port}{args.page}", args.out.resolve(), width, height, args.budget_ms)
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # the webserver and its code servers
        server.wait(timeout=30)
    print(f"{args.out}: {args.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
