"""Do score and pick hold on real LoRA trainings? Held against what a person said of 27 of them before any was scored.

SD 1.5 LoRAs of one person, 10 checkpoints each, drawn with fixed prompts and seeds by two other base models: the sheets
of a public repository (MIT), the only ones found that show real models from under- to over-trained. Of the 72 runs that
they show completely, the 27 labelled ones and 17 others are committed; a new measurement takes all. No picture
of a person is kept: each was measured once, and numbers and labels are committed. Identity is by dlib's network; no
CLIP weights could be had, so prompt is not judged, and with one seed a prompt diversity is not either.

What to keep in mind: one subject, one labeller who knew the settings, four pictures a checkpoint. These runs show kinds
of failure; thresholds are chosen on the drawn world.

    git clone https://github.com/InfluxOW/Stable-Diffusion-Text-To-Person
    python -m benchmarks.real CHECKOUT --jobs 2       measures: half an hour of two cores; goes on where it stopped
    python -m benchmarks.real --replay                the tables of the present score and rule; seconds
"""

import argparse
from pathlib import Path

from benchmarks.printing import write_json
from benchmarks.real.runs import RESULTS, read_runs
from benchmarks.real.tables import show


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("checkout", nargs="?", type=Path, metavar="CHECKOUT", help="measure this checkout")
    what.add_argument("--replay", action="store_true", help="the tables from the committed numbers")
    parser.add_argument("--commit", default="", help="if CHECKOUT is no git work tree")
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--brief", action="store_true", help="totals only, no run by itself")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    chosen = parser.parse_args()
    if chosen.checkout:
        from benchmarks.real.measure import measure

        write_json(RESULTS, measure(chosen.checkout, chosen.jobs, chosen.commit))
    found = show(read_runs(), runs=not chosen.brief)
    if chosen.json:
        write_json(chosen.json, found)


if __name__ == "__main__":
    main()
