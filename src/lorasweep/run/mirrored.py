"""Does a checkpoint draw its subject both ways round, as photos that are partly mirrored teach it? A diagnostic only.

Likeness cannot see it, since a face and its mirror image are one person to a face network; friends of the subject do.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lorasweep.check.orientation import MIXED, reliability
from lorasweep.data.orientation import orientation
from lorasweep.data.pictures import load_pixels
from lorasweep.records import Prompt, SampleSet

if TYPE_CHECKING:
    from lorasweep.vision.embedder import Embedder


def mixed_sides(sheets: Sequence[SampleSet], prompts: Sequence[Prompt], faces: "Embedder | None") -> str:
    """One sentence where some pictures of a checkpoint look mirrored beside the others; '' where nothing can be said.

    Judged are pictures that should show the subject alone in a photo and do show one face. Of fewer than were ever
    measured (``python -m benchmarks.check.orientation``), and without a mark on a cheek, nothing is said.
    """
    from lorasweep.vision.face_crop import aligned_faces

    if faces is None or not sheets:
        return ""
    alone = {p.key for p in prompts if p.subject and p.photo and p.face and p.people == 1}
    paths = [sample.path for sheet in sheets for sample in sheet.samples if sample.prompt in alone]
    crops = aligned_faces([load_pixels(path) for path in paths], faces)
    if reliability(len(crops)) is None:
        return ""
    seen = orientation(crops)
    if seen.score <= MIXED or not seen.mirrored:
        return ""
    others = len(seen.mirrored)
    return (
        f"Step {sheets[0].step} draws a mark on one cheek in {len(crops) - others} pictures and on the other in "
        f"{others}: left and right are mixed, as mirrored photos among others teach it ('lorasweep check' finds them). "
        "Likeness cannot see this."
    )
