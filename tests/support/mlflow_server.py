"""An MLflow server that a test can stop and start."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from support.processes import free_port


class MlflowServer:
    """An MLflow server that can be stopped and started."""

    def __init__(self, store: str, folder: Path) -> None:
        self.store, self.folder, self.port = store, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store, "--artifacts-destination",
                   str(self.folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port), "--workers", "2"]  # fmt: skip
        env = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.log = (self.folder / "server.log").open("a")
        self.process = subprocess.Popen(
            command, env=env, stdout=self.log, stderr=self.log, start_new_session=True
        )
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{self.url}/health", timeout=2).close()
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.5)
        raise RuntimeError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()
