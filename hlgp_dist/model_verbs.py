"""`hlgp export` and `hlgp predict`: a finished run as a small model, and its use."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hlgp_dist.errors import ConfigError, PicturesLeftOut, counted

models_app = typer.Typer()


@models_app.command()
def export(
    run: Annotated[str, typer.Argument(help="The folder of a finished run, a path or s3://, gs://.")],
    out: Annotated[Path | None, typer.Option(help="The folder to make; else export/ in the run's.")] = None,
    checkpoint: Annotated[str, typer.Option(help="last, best or a folder of checkpoints/.")] = "last",
    torch_export: Annotated[bool, typer.Option("--torch-export", help="With model.pt2, backbone and all.")] = False,
) -> None:
    """A finished run -> safetensors, JSON and a model card, without weights of a frozen backbone; docs/export.md."""
    from hlgp_dist.export.write import write_export
    from hlgp_dist.launch.opening import opened

    with opened(run) as storage:
        folder = storage.run()
        target = folder.path / "export" if out is None else out
        described = write_export(folder, target, checkpoint, as_program=torch_export)
        size = sum(file.stat().st_size for file in target.iterdir())
    where = f"{run.rstrip('/')}/export" if out is None else out
    typer.echo(f"{where}: {len(described.classes)} classes in {size:,} bytes; docs/export.md says how to use it")


@models_app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A folder that `hlgp export` made.")],
    pictures: Annotated[list[Path] | None, typer.Argument(help="Files, or folders of them.")] = None,
    data: Annotated[str | None, typer.Option(help="A shard folder in their place, a path or a URL.")] = None,
    split: Annotated[Literal["train", "test"], typer.Option(help="Of the shard folder.")] = "test",
    top: Annotated[int, typer.Option(min=1, help="Classes a picture, the likeliest first.")] = 5,
    out: Annotated[Path | None, typer.Option(help="A .csv or .jsonl; else CSV on standard output.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 128,
    weights: Annotated[str | None, typer.Option(help="Of the backbone: hub, or a file; else where they were.")] = None,
    device: Annotated[str | None, typer.Option(help="As torch calls it; default a GPU if there is one.")] = None,
    compiles: Annotated[bool, typer.Option("--compile", help="The backbone's blocks by torch.compile.")] = False,
) -> None:
    """The likeliest classes of pictures, by an exported model; exit 3 where the backbone's weights are others."""
    if (data is None) == (not pictures):
        raise ConfigError("--data: give either pictures or a shard folder")
    from hlgp_dist.export.description import specs
    from hlgp_dist.export.pictures import of_files, of_shards
    from hlgp_dist.export.predict import Tally, check_out, write_predictions
    from hlgp_dist.export.predictor import open_export, usable_device
    from hlgp_dist.terminal import counting

    check_out(out)
    predictor = open_export(model, weights=weights, device=usable_device(device), compiles=compiles)
    tally, size, top = Tally(), predictor.size, min(top, len(predictor.described.classes))
    if data is None:
        source = of_files(pictures or [], size, batch, tally.leave_out)
    else:
        source = of_shards(data, split, specs(predictor.described.learned_tasks), size, batch, tally.leave_out)
    with counting("predicting") as progress:
        write_predictions(predictor, source, tally, top=top, out=out, progress=progress)
    told = f", {tally.right} of {tally.labelled} right" if tally.labelled else ""
    typer.echo(f"{counted(tally.pictures, 'picture')}{told}", err=True)
    if tally.left_out:
        raise PicturesLeftOut(
            f"{len(tally.left_out)} of {source.total} pictures were left out, {tally.left_out[0]} first"
        )
