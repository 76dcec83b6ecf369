# Copyright (c) 2026, The strata.overlay2 authors
# SPDX-License-Identifier: BSD-2-Clause
"""Hashing and decompressing in a second thread, which lets the first one run meanwhile.

The thread gets a megabyte at a time and touches nothing but memory. It never reads from a stream, so that nobody has to
wait for one when unpacking has failed; and jobs are few, so that handing them over costs little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
    from typing import Callable


class BackgroundJob:
    """One job at a time, done while the caller goes on. The thread starts with the first job."""

    def __init__(self) -> None:
        self._executor: Optional[ThreadPoolExecutor] = None
        self._job: Optional[Future[Any]] = None

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Begin a job. The previous one must have been waited for."""
        if self._executor is None:
            from concurrent.futures import ThreadPoolExecutor  # some ms that small archives do not need

            self._executor = ThreadPoolExecutor(1, "overlay2")
        self._job = self._executor.submit(function, *arguments)

    def wait(self) -> Any:
        """Return the result of the last job, once; None if there is none.

        :raises Exception: whatever the job raised.
        """
        job, self._job = self._job, None
        return None if job is None else job.result()

    def close(self) -> None:
        """End the thread after its job, and keep the job's result. The next job would start another thread."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()
