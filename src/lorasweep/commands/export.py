"""``lorasweep export``: a checkpoint in the layout that another program wants, and what its header would tell."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from lorasweep.commands import Answer
from lorasweep.commands.runs import add_run, checkpoint_at, view_of
from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.data.atomic import write_atomically
from lorasweep.errors import ExitCode, UserError
from lorasweep.records import Checkpoint, RunView

LAYOUTS = ("kohya", "diffusers")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``RUN [format=NAME]`` and which checkpoint goes where."""
    add_run(parser)
    parser.add_argument(
        "format",
        nargs="?",
        default="kohya",
        type=lambda word: word.removeprefix("format="),
        metavar="format=kohya|diffusers",
        help="the layout (default: kohya)",
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="write into this folder (default: the run's own)")
    parser.add_argument("--step", type=int, metavar="N", help="this checkpoint (default: the picked one)")
    parser.add_argument("--audit", action="store_true", help="print what the file's header tells a stranger")


def main(options: Namespace) -> Answer:
    """Write the file and print its path."""
    file = export(options.root, options.run, options.format, to=options.to, step=options.step, audit=options.audit)
    print(file)
    return file, ExitCode.FINE


def export(
    root: str | Path,
    what: str,
    layout: str = "kohya",
    *,
    to: Path | None = None,
    step: int | None = None,
    audit: bool = False,
    say: Say = print,
) -> Path:
    """Write a checkpoint of a run in another layout, and return the path of the file.

    Args:
        layout: kohya, which ComfyUI, A1111, Forge and sd-scripts read, or diffusers.
        to: the folder to write into; None takes ``exported`` in the run's own.
        step: the step of the checkpoint; None takes the picked one.
        audit: also print every line of the file's header, and what it tells a stranger.

    Raises:
        UserError: an unknown layout, or no such checkpoint.
    """
    if layout not in LAYOUTS:
        raise UserError(f"export was told format={layout!r}; it must be one of {', '.join(LAYOUTS)}.")
    view = view_of(root, what)
    source = _checkpoint(view, step).path
    assert source is not None
    name = source.name if layout == "kohya" else f"{source.stem}-diffusers.safetensors"
    target = (to or view.folder / "exported") / name
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, _written(view, source, layout))
    if audit:
        _tell(target, say)
    return target


def _written(view: RunView, source: Path, layout: str) -> bytes:
    from lorasweep.models.loading.reading import skeleton
    from lorasweep.models.lora.file import diffusers_bytes, kohya_bytes, read_adapter
    from lorasweep.models.lora.header import read_header
    from lorasweep.models.lora.layer import module_shapes
    from lorasweep.plan.weightless import described

    header = read_header(source)
    if layout == "kohya" and "lorasweep.step" in header:  # our own checkpoints are in that layout already
        return source.read_bytes()
    model = from_plain(view.config).model
    shapes = module_shapes(skeleton(model.family, described(model).place))
    adapter = read_adapter(source, model.family, shapes)
    if layout == "kohya":
        return kohya_bytes(adapter, model.family, shapes, header)
    return diffusers_bytes(adapter, model.family, header)


def _checkpoint(view: RunView, step: int | None) -> Checkpoint:
    """Return the checkpoint at ``step``, or the picked one."""
    wanted = step if step is not None else view.pick.step if view.pick is not None else None
    if wanted is None:
        raise UserError(f"{view.name} has no picked checkpoint; name one with --step.")
    return checkpoint_at(view, wanted)


def _tell(path: Path, say: Say) -> None:
    from lorasweep.models.lora.header import audit

    lines = audit(path)
    telling = sum(bool(tells) for _, _, tells in lines)
    say(f"{path.name} has {len(lines)} lines in its header; {telling} tell a stranger something of you:")
    for key, value, tells in lines:
        shown = value if len(value) <= 100 else f"{value[:100]}… ({len(value)} characters)"
        say(f"  {key} = {shown}{f'   <- {tells}' if tells else ''}")
