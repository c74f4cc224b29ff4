"""``lorasweep caption DIR``: write a caption beside each photo that has none."""

from argparse import ArgumentParser, Namespace

from lorasweep.captioning.writing import caption
from lorasweep.commands import Answer
from lorasweep.errors import ExitCode


def add_arguments(parser: ArgumentParser) -> None:
    """Declare ``DIR [key=value …]``."""
    parser.add_argument("folder", metavar="DIR", help="the folder of photos")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="key=value",
        help="trigger=WORD with=blip|tagger model=DIR_OR_HUB_ID revision=COMMIT offline=true prefix=WORDS "
        "ending=.txt|.caption overwrite=true device=auto batch_size=8, and for taggers threshold=0.35 "
        "character_threshold=0.85 escape=true",
    )


def main(options: Namespace) -> Answer:
    """Write the captions; it is fine if there is nothing to write."""
    return caption(options.folder, options.words), ExitCode.FINE
