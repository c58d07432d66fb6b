"""The command `python -m tts_service.models.synthesize_weights`: writes a folder of synthetic weights.

They have the sizes and names of real ones and speak noise with the course of speech, so that loading, memory and speed
can be proved where there are no real ones.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from tts_service.errors import StartupError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.synthetic_folder import write_synthetic
from tts_service.models.chatterbox.synthetic_modules import SyntheticModel

app = typer.Typer(add_completion=False)


@app.command()
def synthesize_weights(
    out: Annotated[Path, typer.Argument(help="The folder to write, which must not be there yet.")],
    *,
    model: Annotated[ChatterboxModel, typer.Option(help="Whose layout.")] = ChatterboxModel.ENGLISH,
    size: Annotated[NetworkSize, typer.Option(help="full: 3 GB, upstream's own sizes; tiny: for tests.")] = (
        NetworkSize.TINY
    ),
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 0,
) -> None:
    """Write a folder of synthetic weights in upstream's layout."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    made = SyntheticModel(model=model, size=size, seed=seed)
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(str(made), total=None)
            write_synthetic(out, made, progress=lambda done, total: bar.update(task, completed=done, total=total))
    except StartupError as error:
        console.print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    console.print(f"wrote {out}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    app()
