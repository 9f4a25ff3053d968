"""The epochs of a training for other programs: history.csv, and curves for TensorBoard."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

from minisasrec.errors import ConfigError
from minisasrec.learn import metrics

Epoch = dict[str, Any]


def write_csv(epochs: list[Epoch], path: Path) -> None:
    """One line per epoch; the cells of an epoch without validation are empty."""
    columns = list(dict.fromkeys(name for epoch in epochs for name in epoch))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(epochs)


class TensorBoard:
    """Writes each epoch to a folder as TensorBoard reads it; the step of a point is its epoch.

    The folder shows the history of the run and nothing else: with the first epoch of this process
    the file of an earlier one is replaced by a new file, which begins with the epochs before. So a
    run that was killed and goes on has each epoch once, and no file is written before there is an
    epoch to keep. Raises `ConfigError` if TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise ConfigError(
                '--tensorboard needs TensorBoard: pip install "minisasrec[tensorboard]", or train '
                "without it (history.jsonl and history.csv are always written)"
            ) from None
        self._event_pb2, self._summary_pb2 = event_pb2, summary_pb2
        self._new_writer = EventFileWriter
        self.folder = folder
        self.writer: Any = None

    def show(self, epochs: list[Epoch]) -> None:
        """Add the last of `epochs`, which are all of the run; the first call adds all of them."""
        new = epochs[-1:]
        if self.writer is None:
            new = epochs
            for earlier in self.folder.glob("events.out.tfevents.*"):
                earlier.unlink()
            self.writer = self._new_writer(str(self.folder))
            # a viewer that is open drops what it has read of these steps
            log = self._event_pb2.SessionLog(status=self._event_pb2.SessionLog.START)
            self._add(new[0]["epoch"], time.time(), session_log=log)
        ended = time.time() - sum(epoch["seconds"] for epoch in new)
        for epoch in new:
            ended += epoch["seconds"]
            values = [
                self._summary_pb2.Summary.Value(tag=_tag(name), simple_value=value)
                for name, value in epoch.items()
                if name != "epoch"
            ]
            summary = self._summary_pb2.Summary(value=values)
            self._add(epoch["epoch"], ended, summary=summary)
        self.writer.flush()

    def close(self) -> None:
        """Close the file, if there is one."""
        if self.writer is not None:
            self.writer.close()

    def _add(self, step: int, moment: float, **content: Any) -> None:
        self.writer.add_event(self._event_pb2.Event(wall_time=moment, step=step, **content))


def _tag(name: str) -> str:
    """Metrics are of the validation part, all else is of training."""
    return f"validation/{name}" if name in metrics.labels() else f"train/{name}"
