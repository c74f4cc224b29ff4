"""Facts decide, sentences are for people: no module asks what a sentence says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
READERS = {
    "lorasweep/config/explain.py": "OmegaConf says only in a sentence whether a value may be null",
    "lorasweep/kohya/gui.py": "Kohya's names of LoRA types hold spaces, as in 'Kohya LoCon'",
}
"""Modules that read the words of other programs, which give nothing else."""
SEARCHES = {"startswith", "endswith", "removeprefix", "removesuffix", "find", "index", "count"}


def asked_of_sentences(tree: ast.Module, constants: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield each comparison with a sentence, and each search for one or in an error's own words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In | ast.NotIn):
            sides = [node.left, *node.comparators]
            searched = isinstance(node.ops[0], ast.In | ast.NotIn) and any(is_text(side) for side in node.comparators)
            if searched or any(is_sentence(side, constants) for side in sides):
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in SEARCHES:
            if is_text(node.func.value) or any(is_sentence(argument, constants) for argument in node.args):
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.match_case) and is_sentence(getattr(node.pattern, "value", None), constants):
            yield f"{node.pattern.lineno}: case {ast.unparse(node.pattern)}"


def is_sentence(node: ast.AST | None, constants: frozenset[str]) -> bool:
    """Return whether it is words with a space between them: a literal, one of several, or a constant's name."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(is_sentence(each, constants) for each in node.elts)
    if isinstance(node, ast.Name | ast.Attribute):
        return (node.id if isinstance(node, ast.Name) else node.attr) in constants
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip()


def is_text(node: ast.AST) -> bool:
    """Return whether it is ``str(error)``, under whatever name that ends in ``error``."""
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str"
    return called and any(isinstance(each, ast.Name) and each.id.endswith("error") for each in ast.walk(node))


def sentences_of(tree: ast.Module) -> Iterator[str]:
    """Yield the names of the module's constants that hold a sentence."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and is_sentence(node.value, frozenset()):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


TREES = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text("utf-8")) for path in SOURCE.rglob("*.py")}
CONSTANTS = frozenset(name for tree in TREES.values() for name in sentences_of(tree))


@pytest.mark.parametrize("module", sorted(TREES.keys() - READERS.keys()))
def test_no_module_asks_what_a_sentence_says(module):
    assert list(asked_of_sentences(TREES[module], CONSTANTS)) == []


@pytest.mark.parametrize("module", READERS)
def test_a_module_is_excused_only_while_it_reads_sentences(module):
    assert list(asked_of_sentences(TREES[module], CONSTANTS))


@pytest.mark.parametrize(
    "code",
    [
        '"no prompt asks" in note',
        'verdict == "no usable checkpoint"',
        'verdict not in ("fine", "not measurable")',
        "NO_PICK in part.notes",
        "identity.NO_PICK == note",
        '"data.path" in str(error)',
        'text.startswith("On fresh")',
        'str(error).startswith("data")',
        'match verdict:\n    case "train longer":\n        pass',
    ],
)
def test_the_search_finds_what_it_is_for(code):
    assert list(asked_of_sentences(ast.parse(code), frozenset({"NO_PICK"})))


@pytest.mark.parametrize(
    "code",
    [
        'word == "over"',
        'key in ("lr", "rank")',
        '"," in text',
        'x < stream("caption dropout")',
        "RunVerdict.FINE == word",
    ],
)
def test_the_search_leaves_codes_alone(code):
    assert not list(asked_of_sentences(ast.parse(code), frozenset({"NO_PICK"})))
