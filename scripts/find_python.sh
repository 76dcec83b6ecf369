#!/bin/sh
# Print a Python interpreter that the tools of the control node run on (ansible-core 2.18 to 2.21: Python 3.11 to 3.14).
# A name on PATH may be a version manager's shim that refuses to run, so each candidate is tried.
for candidate in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
    "$candidate" -c 'import ensurepip, ssl, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null || continue
    command -v "$candidate"
    exit 0
done
echo "No usable Python 3.11 to 3.14 with venv was found; set PYTHON=/path/to/python3." >&2
exit 1
