# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Work for a second processor: hashing and decompressing, which let other threads run meanwhile.

The thread is given a megabyte at a time and touches nothing but memory. It never reads from a stream: so it can't
be left waiting for one when unpacking has failed, and few hand-overs mean that it hardly ever stands in the way.
"""

from __future__ import annotations


class Beside:
    """One job at a time, done while the caller goes on. The thread starts with the first job."""

    def __init__(self):
        self._executor = None
        self._job = None

    def start(self, function, *arguments):
        """Begin a job. The one before must have been waited for."""
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor  # some ms that small archives do not need

            self._executor = ThreadPoolExecutor(1, "overlay2")
        self._job = self._executor.submit(function, *arguments)

    def wait(self):
        """The result of the last job that was begun, once; None if there is none.

        :raises Exception: whatever the job raised.
        """
        job, self._job = self._job, None
        return None if job is None else job.result()

    def close(self):
        """End the thread, after its job, whose result is kept. The next job would start another."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()
