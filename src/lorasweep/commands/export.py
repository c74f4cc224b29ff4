"""``lorasweep export``: a checkpoint in the layout that another program wants, and what its header would tell."""

from pathlib import Path

from lorasweep.config.compose import from_plain
from lorasweep.console import Say
from lorasweep.data.atomic import write_atomically
from lorasweep.errors import UserError
from lorasweep.records import Checkpoint, RunView
from lorasweep.track.recall import read_run
from lorasweep.track.run_folder import find_run

LAYOUTS = ("kohya", "diffusers")


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
    """Write a checkpoint of a run in another layout; returns the file.

    Args:
        layout: kohya, which ComfyUI, A1111, Forge and sd-scripts read, or diffusers.
        to: the folder to write into; None means ``exported`` in the run's own.
        step: of the checkpoint; None means the picked one.
        audit: also print every line of the file's header, and what it tells a stranger.
    """
    if layout not in LAYOUTS:
        raise UserError(f"export was told format={layout!r}; it must be one of {', '.join(LAYOUTS)}.")
    view = read_run(find_run(Path(root), what).path)
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
    from lorasweep.models.loading.skeletons import module_shapes, skeleton
    from lorasweep.models.lora.file import diffusers_bytes, kohya_bytes, read_adapter
    from lorasweep.models.lora.header import read_header
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
    """The one asked for, else the picked one."""
    wanted = step if step is not None else view.pick.step if view.pick is not None else None
    if wanted is None:
        raise UserError(f"{view.name} has no picked checkpoint; name one with --step.")
    files = {checkpoint.step: checkpoint for checkpoint in view.checkpoints if checkpoint.path is not None}
    if wanted not in files:
        steps = ", ".join(map(str, sorted(files))) or "none"
        raise UserError(f"{view.name} has no checkpoint at step {wanted}; it has {steps}.")
    return files[wanted]


def _tell(path: Path, say: Say) -> None:
    from lorasweep.models.lora.header import audit

    lines = audit(path)
    telling = sum(bool(tells) for _, _, tells in lines)
    say(f"{path.name} has {len(lines)} lines in its header; {telling} tell a stranger something of you:")
    for key, value, tells in lines:
        shown = value if len(value) <= 100 else f"{value[:100]}… ({len(value)} characters)"
        say(f"  {key} = {shown}{f'   <- {tells}' if tells else ''}")
