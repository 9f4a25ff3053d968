"""Blocks of users on a Dask cluster: where one machine would take too long.

The workers need this package and nothing else, no shared folder: the recommender is sent to each of
them once, as the bytes of the files that `Recommender.save` writes. A block is computed there as it
would be here, so the results are the same bits on the same kind of processor.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from minisasrec.errors import TrainingError
from minisasrec.experiments.cluster import connect, extra
from minisasrec.recommender import Recommender

AHEAD = 2  # blocks for each thread of the cluster that are asked for and not yet fetched
Files = tuple[tuple[str, bytes], ...]


def recommend_on_cluster(
    recommender: Recommender, address: str, users: Sequence[Any], block: int, **arguments: Any
) -> Iterator[Any]:
    """The tables of `Recommender.recommend_in_blocks`, in the same order.

    Raises `ConfigError` if no scheduler answers, `TrainingError` if the cluster loses the work.
    """
    distributed = extra("distributed", "--scheduler")
    from distributed.comm.core import CommClosedError

    files = _files(recommender)
    client = connect(address)
    waiting: deque[Any] = deque()
    try:
        with client:
            threads = sum(client.nthreads().values())
            if not threads:
                raise TrainingError(
                    f"the scheduler at {address} has no workers; start one: dask worker {address}"
                )
            [sent] = client.scatter([files], broadcast=True, hash=False)
            starts = iter(range(0, len(users), block))
            while True:
                for start in starts:
                    part = users[start : start + block]
                    waiting.append(
                        client.submit(_recommend, sent, part, block, arguments, pure=False)
                    )
                    if len(waiting) >= AHEAD * threads:
                        break
                if not waiting:
                    return
                yield waiting.popleft().result()
    except distributed.scheduler.KilledWorker as error:
        raise TrainingError(
            f"the cluster lost several workers at one block ({error.task}), perhaps for lack of "
            "memory; nothing was written: give the command again"
        ) from None
    except (CommClosedError, distributed.client.FutureCancelledError, OSError, TimeoutError):
        raise TrainingError(
            f"the connection to the scheduler at {address} broke off; nothing was written: give "
            "the command again"
        ) from None


def _files(recommender: Recommender) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        saved = recommender.save(Path(folder) / "model")
        return tuple((path.name, path.read_bytes()) for path in sorted(saved.iterdir()))


def _recommend(files: Files, users: Sequence[Any], block: int, arguments: dict[str, Any]) -> Any:
    """One block, on a worker."""
    digest = hashlib.sha256(b"".join(content for _, content in files)).hexdigest()
    [table] = _loaded(digest, _Unhashed(files)).recommend_in_blocks(users, block=block, **arguments)
    return table


class _Unhashed:
    """Files that a cache does not look at: their digest beside them says which they are."""

    def __init__(self, files: Files) -> None:
        self.files = files

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unhashed)


@lru_cache(maxsize=2)
def _loaded(digest: str, content: _Unhashed) -> Recommender:
    with tempfile.TemporaryDirectory() as folder:
        for name, data in content.files:
            (Path(folder) / name).write_bytes(data)
        return Recommender.load(folder)
