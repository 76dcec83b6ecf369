# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The command line. Modules are imported when they are needed, so that --help works without Textual and psutil."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import __version__

DEFAULT_HOME = "/var/lib/overlay2"

DONE, UNHEALTHY, USAGE, UNREADABLE, NO_TERMINAL, NO_OUTPUT = range(6)

_EPILOG = f"""\
exit codes:
  {DONE}  done
  {UNHEALTHY}  with --check: the home has problems
  {USAGE}  invalid command line
  {UNREADABLE}  the home or a snapshot file cannot be read
  {NO_TERMINAL}  no terminal, or Textual is not installed
  {NO_OUTPUT}  the output of --print or --json cannot be written

The program is read-only: it mounts, unmounts, creates and removes nothing, and takes no locks. It also reads the
homes of dockerd (/var/lib/docker/overlay2) and podman (/var/lib/containers/storage/overlay).
Set NO_COLOR=1 to turn colours off. Press ? for help on the keys.
"""


def parser() -> argparse.ArgumentParser:
    """The argument parser."""
    made = argparse.ArgumentParser(
        prog="overlay2-tui",
        description="Inspect a home of overlay2 layers: its layers, mounts, owners and problems.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("home", nargs="?", metavar="HOME", help=f"the path of the home (default: {DEFAULT_HOME})")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--print", action="store_true", help="write all facts to stdout as text and exit")
    how.add_argument("--json", action="store_true", help="write all facts to stdout as JSON and exit")
    made.add_argument(
        "--snapshot", nargs="+", metavar="FILE", help="show files written by overlay2_info or --json, one host per tab"
    )
    made.add_argument(
        "--check", action="store_true", help=f"with --print or --json: exit with {UNHEALTHY} if the home has problems"
    )
    made.add_argument(
        "--no-sizes", action="store_true", help="with --print or --json: do not measure the layers (faster)"
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    options = parser().parse_args(arguments)
    if options.snapshot and options.home:
        parser().error("HOME and --snapshot cannot be combined")
    headless = options.print or options.json
    if (options.check or options.no_sizes) and not headless:
        parser().error("--check and --no-sizes need --print or --json")
    home = options.home or DEFAULT_HOME
    try:
        if not headless:
            return _open_screen(home, options.snapshot)
        from . import headless as pipes
    except ImportError as error:
        _complain(f"{error}. Install the requirements: pip install 'strata-overlay2[tui]'")
        return NO_TERMINAL
    snapshots = pipes.load(options.snapshot) if options.snapshot else [pipes.gather(home, measure=not options.no_sizes)]
    try:
        is_readable = pipes.write(snapshots, as_json=options.json)
    except pipes.OutputFailed as error:
        _complain(f"{error}")
        return NO_OUTPUT
    if not is_readable:
        return UNREADABLE
    return UNHEALTHY if options.check and any(snapshot.problems for snapshot in snapshots) else DONE


def _open_screen(home: str, files: Sequence[str] | None) -> int:
    # Textual draws on stderr.
    for name, stream in (("stdin", sys.stdin), ("stdout", sys.stdout), ("stderr", sys.stderr)):
        if stream is None or not stream.isatty():
            _complain(f"{name} is not a terminal. Use --print or --json in pipes and jobs.")
            return NO_TERMINAL
    from .app import Overlay2App
    from .terminal import end_with_terminal

    end_with_terminal()
    app = Overlay2App(home, snapshots=files or ())
    app.run()
    return app.return_code or DONE


def _complain(sentence: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"overlay2-tui: {sentence}\n")
