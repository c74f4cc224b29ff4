"""``lorasweep import FILE``: turn Kohya's settings into a preset."""

from argparse import ArgumentParser, Namespace

from lorasweep.commands import Answer
from lorasweep.errors import ExitCode
from lorasweep.kohya.importing import import_settings


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``FILE [DIR]`` and how to write the preset."""
    parser.add_argument(
        "file", metavar="FILE", help="JSON of Kohya's GUI, TOML of sd-scripts, or a file with its command line"
    )
    parser.add_argument("folder", nargs="?", metavar="DIR", help="the photos (default: the folder in the settings)")
    parser.add_argument(
        "--to", metavar="FILE", help="write FOLDER/preset/NAME.yaml (default: presets/preset/OUTPUT_NAME.yaml)"
    )
    parser.add_argument(
        "--like", metavar="PRESET", help="build on this preset (default: the one for persons on that base model)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="train this many steps instead of counting epochs")
    parser.add_argument("--overwrite", action="store_true", help="replace a preset that is already there")


def main(options: Namespace) -> Answer:
    """Write the preset; what became of each setting is printed."""
    made = import_settings(
        options.file,
        options.folder,
        to=options.to,
        like=options.like,
        steps=options.steps,
        overwrite=options.overwrite,
    )
    return made, ExitCode.FINE
