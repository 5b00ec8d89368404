"""TensorBoard event files: scalars, images, text and HParams in one file, without TensorFlow or matplotlib."""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from tensorboard import program
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event as EventProto
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import metadata as pages_metadata
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.ports import LOOPBACK
from hlgp_dist.telemetry.journal import Event
from hlgp_dist.telemetry.pages import Page, layout

if TYPE_CHECKING:
    from torch import Tensor  # `hlgp tensorboard` starts in half the time without it

FLUSH_SECONDS = 10.0
COLORS = 128
"""Of a picture, which is then a quarter of its size: a search's folder holds thousands."""
EVENT_FILES = "events.out.tfevents.*"
PICTURES = 1000
"""Of a tag. By default TensorBoard shows ten, drawn at random, and of 0, which means all, none."""

HParam = bool | int | float | str | None


def serve(folder: Path, port: int) -> None:
    """Show a folder of event files, which may grow, on loopback until interrupted.

    Raises:
        EnvironmentFailure: the port is taken.
    """
    server = program.TensorBoard()
    where = ("--logdir", str(folder), "--host", LOOPBACK, "--port", str(port))
    server.configure(argv=["tensorboard", *where, "--samples_per_plugin", f"images={PICTURES}"])
    try:
        address = server.launch()
    except program.TensorBoardServerException as error:
        raise EnvironmentFailure(f"TensorBoard cannot listen on {LOOPBACK}:{port}: {error}") from None
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # what a shell starts with `&` has SIGINT ignored
    print(f"TensorBoard on {address}; ctrl-c ends it", flush=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def pictures(folder: Path) -> Iterator[Any]:
    """The events of a folder's files that hold a picture, as they were written; a torn file's up to where it is."""
    for path in sorted(folder.glob(EVENT_FILES)):
        for event in LegacyEventFileLoader(str(path)).Load():
            if any(value.HasField("image") for value in event.summary.value):
                yield event


class Board:
    """One new event file in `folder`; those that were there are removed, which an open TensorBoard follows."""

    def __init__(self, folder: Path) -> None:
        for old in folder.glob(EVENT_FILES):
            old.unlink()
        self._writer = EventFileWriter(str(folder), flush_secs=FLUSH_SECONDS)

    def scalars(self, event: Event) -> None:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in event.tags.items()]
        self._add(Summary(value=values), event.step, event.wall_time)

    def image(self, tag: str, step: int, image: Tensor, wall_time: float) -> None:
        """`image`: uint8 [3, H, W]."""
        _, height, width = image.shape
        encoded = io.BytesIO()
        drawn = Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())
        drawn.quantize(COLORS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(encoded, format="PNG")
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded.getvalue())
        self._add(Summary(value=[Summary.Value(tag=tag, image=picture)]), step, wall_time)

    def again(self, event: Any) -> None:
        """One of `pictures`."""
        self._writer.add_event(event)

    def pages(self, pages: Sequence[Page], wall_time: float) -> None:
        """Custom Scalars; TensorBoard joins what several runs declare, question by question."""
        tensor = TensorProto(dtype=DT_STRING, string_val=[layout(pages).SerializeToString()])
        metadata, tag = pages_metadata.create_summary_metadata(), pages_metadata.CONFIG_SUMMARY_TAG
        self._add(Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)]), 0, wall_time)

    def text(self, tag: str, markdown: str, wall_time: float) -> None:
        tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()])
        metadata = text_metadata.create_summary_metadata(display_name=tag, description="")
        self._add(Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)]), 0, wall_time)

    def session_start(
        self,
        hparams: Mapping[str, HParam],
        varied: Collection[str],
        metrics: tuple[str, ...],
        wall_time: float,
    ) -> None:
        """Declare the columns and write this run's values, now, so that a running trial has its row.

        TensorBoard shows five columns until it is asked for more, those that differ first: `varied`.
        TensorBoard takes the columns of the first run it meets: every run of a search has to declare the same.
        Given no name it calls a row by the run's folder; a name of two runs, as `seed-0` of two cells, would join them.
        """
        infos = [
            api_pb2.HParamInfo(name=key, type=_data_type(value), differs=key in varied)
            for key, value in hparams.items()
        ]
        columns = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics]
        experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=columns, time_created_secs=wall_time)
        start = SessionStartInfo(start_time_secs=wall_time)
        for key, value in hparams.items():
            if value is not None:
                setattr(start.hparams[key], _value_field(value), value)
        self._hparams(hparams_metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment), wall_time)
        self._hparams(hparams_metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start), wall_time)

    def session_end(self, *, succeeded: bool, wall_time: float) -> None:
        status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
        end = SessionEndInfo(status=status, end_time_secs=wall_time)
        self._hparams(hparams_metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end), wall_time)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _hparams(self, tag: str, data: Any, wall_time: float) -> None:
        metadata = hparams_metadata.create_summary_metadata(data)
        value = Summary.Value(tag=tag, metadata=metadata, tensor=hparams_metadata.NULL_TENSOR)
        self._add(Summary(value=[value]), 0, wall_time)

    def _add(self, summary: Any, step: int, wall_time: float) -> None:
        self._writer.add_event(EventProto(wall_time=wall_time, step=step, summary=summary))


def _value_field(value: HParam) -> str:
    if isinstance(value, bool):
        return "bool_value"
    return "string_value" if isinstance(value, str) else "number_value"


def _data_type(value: HParam) -> Any:
    """A null says nothing of its column's type; most options that may be null are numbers."""
    types = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    return types.get(type(value), api_pb2.DATA_TYPE_FLOAT64)
