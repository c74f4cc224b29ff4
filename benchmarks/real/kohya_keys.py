"""Write ``tests/kohya/kohya_keys.txt``: what Kohya's GUI and sd-scripts call their settings for LoRAs.

    python -m benchmarks.real.kohya_keys KOHYA_SS SD_SCRIPTS     seconds

Both are git directories (a checkout's ``.git``, or a bare one). Names are facts; nothing else is taken over.
"""

import argparse
import ast
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).parents[2] / "tests" / "kohya" / "kohya_keys.txt"
NOT_SETTINGS = {"save_as_bool", "file_path", "ask_for_file", "apply_preset"}
PARSERS = {
    "train_network.py": {"setup_parser"},
    "sdxl_train_network.py": {"setup_parser"},
    "flux_train_network.py": {"setup_parser"},
    "library/train_util.py": {
        "add_sd_models_arguments",
        "add_sd_saving_arguments",
        "add_dataset_arguments",
        "add_training_arguments",
        "add_masked_loss_arguments",
        "add_optimizer_arguments",
        "add_dit_training_arguments",
    },
    "library/utils.py": {"add_logging_arguments"},
    "library/sai_model_spec.py": {"add_model_spec_arguments"},
    "library/deepspeed_utils.py": {"add_deepspeed_arguments"},
    "library/config_util.py": {"add_config_arguments"},
    "library/custom_train_functions.py": {"add_custom_train_arguments"},
    "library/sdxl_train_util.py": {"add_sdxl_training_arguments"},
    "library/flux_train_utils.py": {"add_flux_train_arguments"},
}


def git(folder: Path, *words: str) -> str:
    """Return git's output for a git directory."""
    command = ["git", f"--git-dir={folder}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def functions(folder: Path, path: str, names: set[str]) -> Iterator[ast.FunctionDef]:
    """Yield the functions of a file by name."""
    for node in ast.walk(ast.parse(git(folder, "show", f"HEAD:{path}"))):
        if isinstance(node, ast.FunctionDef) and node.name in names:
            yield node


def tab_keys(gui: Path) -> set[str]:
    """Return the arguments that the LoRA tab saves and opens."""
    found = functions(gui, "kohya_gui/lora_gui.py", {"save_configuration", "open_configuration"})
    return {argument.arg for node in found for argument in node.args.args} - NOT_SETTINGS


def preset_keys(gui: Path) -> set[str]:
    """Return the keys of the presets that the GUI ships, older ones too."""
    files = git(gui, "ls-tree", "-r", "-z", "--name-only", "HEAD", "presets/lora").split("\0")
    return {key for file in files if file.endswith(".json") for key in json.loads(git(gui, "show", f"HEAD:{file}"))}


def script_keys(scripts: Path) -> set[str]:
    """Return the arguments of sd-scripts' programs for LoRAs of SD, SDXL and FLUX."""
    return {
        word.value.removeprefix("--")
        for path, names in PARSERS.items()
        for node in functions(scripts, path, names)
        for call in ast.walk(node)
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument"
        for word in call.args
        if isinstance(word, ast.Constant) and str(word.value).startswith("--")
    }


def main() -> None:
    """Read both and write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gui", type=Path)
    parser.add_argument("scripts", type=Path)
    chosen = parser.parse_args()
    parts = (
        ("bmaltais/kohya_ss", chosen.gui, "the LoRA tab", tab_keys(chosen.gui)),
        ("bmaltais/kohya_ss", chosen.gui, "presets/lora", preset_keys(chosen.gui) - tab_keys(chosen.gui)),
        ("kohya-ss/sd-scripts", chosen.scripts, "arguments", script_keys(chosen.scripts)),
    )
    lines: list[str] = []
    for project, folder, what, keys in parts:
        lines += [f"# {project} {git(folder, 'rev-parse', 'HEAD').strip()}: {what}", *sorted(keys)]
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
