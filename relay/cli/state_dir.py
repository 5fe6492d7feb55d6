"""Where a program keeps what it must not lose."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import PlatformDirs


def default_state_dir(program: str) -> Path:
    """Where systemd made room for it; else `~/.local/state/…`, for root `/var/lib/…`.

    (On Linux; platformdirs knows the other systems' habits, and XDG_STATE_HOME.)
    """
    # "If multiple directories are set, then in the environment variable the paths are
    # concatenated with colon": systemd.exec(5).
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    dirs = PlatformDirs(program, appauthor=False, use_site_for_root=True)
    return Path(given or dirs.user_state_dir)
