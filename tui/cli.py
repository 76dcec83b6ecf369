# Copyright (c) 2026, The strata.overlay2 authors
# BSD-2-Clause license (see LICENSES/BSD-2-Clause.txt)
# SPDX-License-Identifier: BSD-2-Clause
"""The command line. What it takes to look is imported when it is wanted, so that --help needs nothing."""

from __future__ import annotations

import argparse
import sys

from . import __version__

DEFAULT_HOME = "/var/lib/overlay2"

DONE, WRONG, USAGE, UNREADABLE, NO_TERMINAL = 0, 1, 2, 3, 4

_EPILOG = f"""\
exit codes:
  {DONE}  done
  {WRONG}  with --check: something is wrong with the home
  {USAGE}  the command line makes no sense
  {UNREADABLE}  the home, or a snapshot file, can't be read
  {NO_TERMINAL}  a screen is wanted, and there is no terminal or no Textual

It is read-only: it mounts, unmounts, creates and removes nothing, and takes no lock. Homes of dockerd
(/var/lib/docker/overlay2) and of podman (/var/lib/containers/storage/overlay) can be looked at too.
NO_COLOR=1 in the environment turns colours off. Keys: press ? inside.
"""


def parser():
    """The argument parser."""
    made = argparse.ArgumentParser(
        prog="overlay2-tui",
        description="Look into a home of overlay2 layers: what is there, what is mounted, who holds it, what is wrong.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("home", nargs="?", metavar="HOME", help=f"the home's folder (default: {DEFAULT_HOME})")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--print", action="store_true", help="write all facts once, as text")
    how.add_argument("--json", action="store_true", help="write all facts once, as JSON")
    made.add_argument(
        "--snapshot", nargs="+", metavar="FILE", help="open what overlay2_info or --json gathered, one host per tab"
    )
    made.add_argument(
        "--check", action="store_true", help=f"with --print or --json: exit {WRONG} if something is wrong"
    )
    made.add_argument(
        "--no-sizes", action="store_true", help="with --print or --json: do not measure layers, which is faster"
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return made


def main(arguments=None):
    """Run the program; returns its exit code (int)."""
    options = parser().parse_args(arguments)
    if options.snapshot and options.home:
        parser().error("HOME and --snapshot exclude each other")
    headless = options.print or options.json
    if (options.check or options.no_sizes) and not headless:
        parser().error("--check and --no-sizes go with --print or --json")
    home = options.home or DEFAULT_HOME
    try:
        if not headless:
            return _open_screen(home, options.snapshot)
        from . import headless as pipes
    except ImportError as error:
        sys.stderr.write(f"overlay2-tui: {error}. Install what it needs: pip install 'strata-overlay2[tui]'\n")
        return NO_TERMINAL
    snapshots = pipes.load(options.snapshot) if options.snapshot else [pipes.gather(home, measure=not options.no_sizes)]
    if not pipes.write(snapshots, as_json=options.json):
        return UNREADABLE
    return WRONG if options.check and any(snapshot.problems for snapshot in snapshots) else DONE


def _open_screen(home, files):
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write("overlay2-tui: this is no terminal. Use --print or --json in pipes and jobs.\n")
        return NO_TERMINAL
    from .app import Overlay2App

    app = Overlay2App(home, snapshots=files or ())
    app.run()
    return app.return_code or DONE
