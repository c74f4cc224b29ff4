"""What a command needs before it computes is imported without torch, so that help and mistakes are told at once."""

import subprocess
import sys

LIGHT = (
    *("check.inspection", "check.text", "check.mending", "check.sheet"),
    *("captioning.settings", "captioning.writing", "kohya.importing"),
    *("plan.announcements", "plan.budget", "plan.schedule", "plan.footprint", "plan.planning", "plan.text"),
)
HEAVY = ("torch", "diffusers", "transformers", "timm", "mlflow", "optuna")


def test_check_captioning_kohya_and_plan_are_imported_without_torch():
    names = ", ".join(f"lorasweep.{name}" for name in LIGHT)
    code = f"import sys, {names}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
