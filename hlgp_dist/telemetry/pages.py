"""TensorBoard's Custom Scalars: charts of several tags under one question, declared by every run alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Layout, MultilineChartContent
from tensorboard.plugins.custom_scalar.layout_pb2 import Chart as ChartProto


class Chart(NamedTuple):
    """Curves of all tags that one of the regular expressions matches as a whole."""

    title: str
    tags: tuple[str, ...]


class Page(NamedTuple):
    """One question and the charts that answer it."""

    question: str
    charts: tuple[Chart, ...]


def layout(pages: Sequence[Page]) -> Any:
    """TensorBoard's own form of it; the plug-in asks of an expression only that a tag begins with it."""
    return Layout(category=[Category(title=page.question, chart=map(_chart, page.charts)) for page in pages])


def _chart(chart: Chart) -> Any:
    return ChartProto(title=chart.title, multiline=MultilineChartContent(tag=[f"{tag}$" for tag in chart.tags]))
