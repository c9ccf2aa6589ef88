#!/usr/bin/env python3
"""Checks the rules of the tree that the compiler does not: see CHECKS at the end of this file.

  check_layers.py               checks the tree this script stands in
  check_layers.py --self-test   plants one violation of each rule and requires that it is found
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# The layers, lowest first: a module includes only itself and the modules of its row.
BELOW_MODEL = ["base", "tensor", "picture", "mask", "ops", "attention", "autograd"]
BELOW_DECODE = BELOW_MODEL + ["io", "text", "data", "model"]
MAY_INCLUDE = {
    "base": [],
    "tensor": ["base"],
    "io": ["base", "tensor"],
    "picture": ["base"],
    "mask": ["base", "tensor", "picture"],
    "ops": ["base", "tensor"],
    "attention": ["base", "tensor", "mask"],
    "autograd": ["base", "tensor", "mask", "ops", "attention"],
    "model": BELOW_MODEL + ["io"],
    "text": ["base", "io"],
    "data": ["base", "tensor", "io", "mask", "text"],
    "decode": BELOW_DECODE,
    "train": BELOW_DECODE + ["decode"],
    "serve": BELOW_DECODE + ["decode"],
}

# A library's headers stay in the rooms named here ("src/io" means everything below it).
ROOMS = [
    (r"nlohmann/", ["src/io"]),
    (r"yaml-cpp/", ["src/io"]),
    (r"sentencepiece", ["src/text"]),
    (r"unicode/", ["src/text"]),
    (r"zstd\.h|zlib\.h", ["src/data", "tests"]),
    (r"CLI/", ["cli"]),
    (r"png\.h", ["src/picture", "cli", "tests"]),
    (r"microhttpd", ["src/serve"]),
    (r"gtest/|gmock/", ["tests"]),
    (r"benchmark/", ["bench"]),
    (r"regex$|iostream$", ["cli", "tests", "bench", "fuzz", "examples"]),
    (r"thrust/|cub/|cooperative_groups|cute/|cutlass/|cuda/std", []),
    (r"spdlog|boost/|pybind11", []),
]

MAX_LINES = 400
SOURCE = {".h", ".cpp", ".cu", ".cuh"}
CODE_FOLDERS = ["src", "cli", "tests", "bench", "fuzz", "examples", "python"]
TEXT = SOURCE | {".py", ".md", ".txt", ".cmake", ".sh", ".in", ".json", ".html", ".js"}
SKIPPED = {".gpu", ".cache", ".git", "build", "include", "corpus", "golden", ".venv"}
FIXTURES = pathlib.Path("tests/data/formats")  # files of others

# Product text speaks of the product: not of how, where or when it was made.
FOREIGN_TEXT = [
    r"\bphase[ -]?\d", r"\bsession[ -]?\d", r"\b(this|last|next|previous|earlier) session\b",
    r"(?<![\w.])/(work|home|root)/", r"\.\./shared\b", r"\b(co-)?authored by\b",
    r"\bpypi\.org\b", r"\b(deb|snapshot)\.debian\.org\b",
]


def files_below(root, suffixes, folders=None):
    """Files of the tree with such a suffix, as paths relative to root, sorted."""
    found = []
    for folder in folders or ["."]:
        for path, names, files in os.walk(root / folder):
            names[:] = [n for n in names if n not in SKIPPED
                        and pathlib.Path(path, n).relative_to(root) != FIXTURES]
            for name in files:
                full = pathlib.Path(path) / name
                if full.suffix in suffixes and not full.is_symlink():
                    found.append(full.relative_to(root))
    return sorted(found)


def lines_of(root, file):
    return (root / file).read_text(encoding="utf-8", errors="replace").splitlines()


def includes(root, file):
    """(line number, text between the quotes or brackets) of each #include."""
    for number, line in enumerate(lines_of(root, file), 1):
        match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1)


def check_modules(root):
    """A module includes only the modules of its row, by full path; internals stay inside."""
    for file in files_below(root, SOURCE, CODE_FOLDERS):
        inside = file.parts[0] == "src"
        module = file.parts[1] if len(file.parts) > 2 else None
        if inside and module not in MAY_INCLUDE:
            yield f"{file}: module '{module}' has no row in MAY_INCLUDE"
            continue
        for number, name in includes(root, file):
            parts = name.split("/")
            if parts[0] != "heddle":
                if name.startswith(".") or (inside and (root / "src" / name).exists()):
                    yield f'{file}:{number}: "{name}"; expected "heddle/<module>/<file>.h"'
                continue
            if len(parts) < 3:
                yield f'{file}:{number}: "{name}"; expected "heddle/<module>/<file>.h"'
                continue
            other = parts[1]
            if inside and other != module and other not in MAY_INCLUDE[module]:
                yield f"{file}:{number}: {module} includes {other}; its row allows " + (
                    ", ".join(MAY_INCLUDE[module]) or "nothing")
            if other != module and name.endswith("_internal.h"):
                yield f"{file}:{number}: {name} is internal to {other}"


def check_rooms(root):
    """Heavy or replaceable libraries are included in their own room only."""
    for file in files_below(root, SOURCE, CODE_FOLDERS):
        for number, name in includes(root, file):
            for pattern, rooms in ROOMS:
                if re.match(pattern, name) and not any(
                        file.as_posix().startswith(room + "/") for room in rooms):
                    where = ", ".join(rooms) or "no file"
                    yield f"{file}:{number}: <{name}> is allowed in: {where}"


def check_length(root):
    """No file of code is longer than MAX_LINES."""
    for file in files_below(root, SOURCE | {".py"}):
        count = len(lines_of(root, file))
        if count > MAX_LINES:
            yield f"{file}: {count} lines; expected at most {MAX_LINES}"


def check_todo(root):
    """Work left open is an issue: TODO(#12)."""
    for file in files_below(root, TEXT):
        if file.name == pathlib.Path(__file__).name:
            continue
        for number, line in enumerate(lines_of(root, file), 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", line) and "`TODO" not in line:
                yield f"{file}:{number}: open work without an issue; expected TODO(#12)"


def check_headers(root):
    """Headers have #pragma once and no `using namespace`."""
    for file in files_below(root, {".h", ".cuh"}, CODE_FOLDERS):
        lines = lines_of(root, file)
        if "#pragma once" not in lines:
            yield f"{file}: no #pragma once"
        for number, line in enumerate(lines, 1):
            if re.match(r"\s*using\s+namespace\b", line):
                yield f"{file}:{number}: using namespace in a header"


def check_cuda_border(root):
    """.cu and .cuh hold device code; what .cpp files include must compile under g++ alone."""
    for file in files_below(root, {".cpp", ".h"}, CODE_FOLDERS):
        for number, name in includes(root, file):
            if name.endswith(".cuh"):
                yield f"{file}:{number}: {name} is for .cu files only"
    for file in files_below(root, {".cu", ".cuh"}, CODE_FOLDERS):
        has_kernel = re.search(r"__global__|__device__|HEDDLE_HD|<<<", "\n".join(lines_of(root, file)))
        if not has_kernel and not any(name.endswith(".cuh") for _, name in includes(root, file)):
            yield f"{file}: no device code; expected .cpp or .h"


def check_text(root):
    """The product speaks of the product alone."""
    for file in files_below(root, TEXT | {"", ".yml", ".toml"}):
        if file.name == pathlib.Path(__file__).name:
            continue
        for number, line in enumerate(lines_of(root, file), 1):
            for pattern in FOREIGN_TEXT:
                if re.search(pattern, line, re.IGNORECASE):
                    yield f"{file}:{number}: does not belong in the product: {line.strip()[:80]}"


def proved_headers(root, headers):
    """Headers that compile alone because a file that compiles includes them first.

    The file is a .cpp (the build without precompiled headers shows that it compiles), or one of the
    other headers.
    """
    def first_include(file):
        name = next((name for _, name in includes(root, file)), "")
        return pathlib.Path("src", *pathlib.PurePosixPath(name).parts[1:])

    open_files = files_below(root, {".cpp"}, ["src", "cli"]) + headers
    return {first_include(file) for file in open_files}


def check_header_alone(root):
    """Each header compiles by itself, with the plain C++ compiler."""
    compiler = os.environ.get("CXX", "g++")
    headers = files_below(root, {".h"}, ["src"])
    proved = proved_headers(root, headers)
    headers = [header for header in headers if header not in proved]

    def compile_alone(header):
        name = "heddle/" + header.relative_to("src").as_posix()
        done = subprocess.run(
            # psabi: headers for one instruction set are used only where its flags are on
            [compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow",
             "-Wno-psabi", "-Werror", f"-I{root / 'include'}", "-x", "c++", "-"],
            input=f'#include "{name}"\n', capture_output=True, text=True, check=False)
        return header, done

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for header, done in pool.map(compile_alone, headers):
            if done.returncode != 0:
                first = next((x for x in done.stderr.splitlines() if "error" in x), done.stderr)
                yield f"{header}: does not compile alone: {first.strip()}"


CHECKS = [check_modules, check_rooms, check_length, check_todo, check_headers, check_cuda_border,
          check_text, check_header_alone]

# One planted file for each rule: (check, path, text, part of the message).
PLANTED = [
    (check_modules, "src/base/a.cpp", '#include "heddle/mask/mask.h"\n', "base includes mask"),
    (check_modules, "src/mask/a.cpp", '#include "heddle/attention/b.h"\n', "mask includes"),
    (check_modules, "src/mask/b.cpp", '#include "mask/c.h"\n', 'expected "heddle/<module>'),
    (check_modules, "cli/a.cpp", '#include "heddle/mask/x_internal.h"\n', "internal to mask"),
    (check_modules, "src/other/a.cpp", "int x;\n", "no row"),
    (check_rooms, "src/mask/json.cpp", "#include <nlohmann/json.hpp>\n", "allowed in: src/io"),
    (check_rooms, "src/base/re.cpp", "#include <regex>\n", "<regex> is allowed in"),
    (check_rooms, "src/base/out.cpp", "#include <iostream>\n", "<iostream> is allowed in"),
    (check_rooms, "src/attention/a.cu", "#include <cub/cub.cuh>\n__global__ f();\n", "no file"),
    (check_length, "src/base/long.cpp", "\n" * (MAX_LINES + 1), "401 lines"),
    (check_todo, "src/base/todo.cpp", "// TODO: finish\n", "without an issue"),
    (check_todo, "docs/todo.md", "FIXME later\n", "without an issue"),
    (check_headers, "src/base/using.h", "#pragma once\nusing namespace std;\n", "using namespace"),
    (check_headers, "src/base/twice.h", "int twice();\n", "no #pragma once"),
    (check_cuda_border, "src/mask/host.cpp", '#include "heddle/mask/d.cuh"\n', "for .cu files"),
    (check_cuda_border, "src/mask/host.cu", "int host();\n", "no device code"),
    (check_text, "docs/diary.md", "Done in phase 3.\n", "does not belong"),
    (check_text, "docs/path.md", "See /home/someone/notes.\n", "does not belong"),
    (check_header_alone, "src/base/alone.h", "#pragma once\nstd::string f();\n", "compile alone"),
]
CLEAN = [
    ("src/mask/c.h", "#pragma once\nnamespace heddle {\nint mask();\n}\n"),
    ("src/mask/c.cpp", '#include "heddle/mask/c.h"\n\n#include <vector>\n// TODO(#12): more.\n'),
    ("tests/mask/c_test.cpp", '#include <gtest/gtest.h>\n#include "heddle/mask/c.h"\n'),
]


def tree_with(folder, files):
    for name, text in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "include").mkdir(exist_ok=True)
    if not (folder / "include/heddle").is_symlink():
        (folder / "include/heddle").symlink_to("../src")


def self_test():
    failures = []
    for check, name, text, expected in PLANTED:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            tree_with(root, CLEAN)
            before = list(check(root))
            tree_with(root, [(name, text)])
            found = [message for message in check(root) if message not in before]
            if before:
                failures.append(f"{check.__name__}: complains about a clean tree: {before}")
            if len(found) != 1 or expected not in found[0] or name not in found[0]:
                failures.append(f"{check.__name__}: planted {name}, expected one message with "
                                f"'{expected}', found {found}")
    untested = [c.__name__ for c in CHECKS if not any(c is row[0] for row in PLANTED)]
    failures += [f"{name}: no planted violation" for name in untested]
    for failure in failures:
        print("self-test:", failure)
    print(f"{len(PLANTED)} planted violations, {len(failures)} failures")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--self-test", action="store_true")
    if parser.parse_args().self_test:
        return self_test()
    root = pathlib.Path(__file__).resolve().parent.parent
    messages = [message for check in CHECKS for message in check(root)]
    for message in messages:
        print(message)
    print(f"{len(files_below(root, SOURCE))} source files, {len(messages)} violations")
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
