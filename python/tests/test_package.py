"""What is in the package: stubs that match it, docstrings, and nothing of torch."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

import heddle
from heddle import _core, masks

FOLDER = pathlib.Path(heddle.__file__).parent


def test_stubs_name_everything():
    tree = ast.parse((FOLDER / "_core.pyi").read_text())
    stubs = {
        node.name: node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))
    }
    assert set(stubs) == {name for name in dir(_core) if not name.startswith("_")}
    for name in ("ColumnMask", "MaskPlan"):
        members = {node.name for node in stubs[name].body if isinstance(node, ast.FunctionDef)}
        public = {member for member in vars(getattr(_core, name)) if not member.startswith("_")}
        assert public <= members
    assert (FOLDER / "py.typed").exists()


def test_every_name_has_a_docstring():
    names = [_core, masks, heddle, *(getattr(_core, name) for name in dir(_core) if name[0] != "_")]
    names += [heddle.flashmask_attention, heddle.flashmask_attention_backward]
    for kind in (heddle.ColumnMask, heddle.MaskPlan):
        names += [value for name, value in vars(kind).items() if not name.startswith("_")]
    assert not [name for name in names if name is not _core and not inspect.getdoc(name)]


def test_every_builder_is_offered():
    others = {"ColumnMask", "MaskPlan", "address", "attention_forward", "attention_backward"}
    others |= {"set_num_threads", "get_num_threads", "Planned"}
    others |= {"Translation", "TranslationOptions", "TranslatorCore", "Variant"}
    others |= {name for name in dir(_core) if name.startswith("cuda_")}
    public = {name for name in dir(_core) if not name.startswith("_")}
    assert set(masks.__all__) == public - others | {"to_startend_row_indices"}


def test_torch_is_not_imported():
    code = "import heddle, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_types_hold(tmp_path):
    pytest.importorskip("mypy")
    sample = tmp_path / "sample.py"
    sample.write_text(
        "import heddle\n"
        "mask: heddle.ColumnMask = heddle.masks.causal_document([3, 5], total=8)\n"
        "mask = mask & heddle.masks.full(8, 8)\n"
        "plan: heddle.MaskPlan = mask.plan(64, 64)\n"
        "density: float = mask.select_rows([0, 1]).density\n"
        "heddle.masks.causal('four')  # type: ignore[arg-type]\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(sample)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
