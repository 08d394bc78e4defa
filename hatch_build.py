"""Compile core/kernels.c while the package is built. Without a C compiler the package works, only slower."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("src/ligate/core/kernels.c")
LIBRARY = SOURCE.with_name("_kernels.so")
FLAGS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-thread-jumps", "-shared", "-fPIC"]


class CompileKernels(BuildHookInterface[Any]):
    """Adds the compiled loops to wheels and editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
        partial = (root / LIBRARY).with_suffix(".partial")
        try:
            subprocess.run([*compiler[:1], *FLAGS, "-o", partial, root / SOURCE], check=True, capture_output=True)
            os.replace(partial, root / LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            (root / LIBRARY).unlink(missing_ok=True)
            self.app.display_warning(f"kernels.c was not compiled, torch will do its work more slowly: {error}")
            return
        build_data["artifacts"].append(LIBRARY.as_posix())
        build_data["infer_tag"] = True
        build_data["pure_python"] = False
