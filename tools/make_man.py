#!/usr/bin/env python3
"""Writes the man page of a command from the --help texts of it and its subcommands.

  make_man.py --version 0.1.0 --output heddle.1 build/release/bin/heddle
"""
import argparse
import os
import re
import subprocess
import sys


def help_text(command):
    done = subprocess.run(command + ["--help"], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        sys.exit(f"{' '.join(command)} --help: exit code {done.returncode}, "
                 f"{len(done.stdout)} bytes; expected 0 and a text")
    return done.stdout


def subcommands(text):
    """(name, description) of each line below `Subcommands:`, in order."""
    section = re.search(r"^Subcommands:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    if not section:
        return []
    return re.findall(r"^  (\S+)(?:[ \t]+(.*))?$", section.group(1), re.MULTILINE)


def roff(text):
    """Plain text as roff that prints the same characters."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def section(title, text):
    return [f'.SH "{roff(title)}"', ".nf", roff(text.strip("\n")), ".fi"]


def subcommand_sections(command, path):
    """A section for each subcommand below path, and for theirs."""
    lines = []
    for subcommand, _ in subcommands(help_text([command] + path)):
        below = path + [subcommand]
        name = " ".join([os.path.basename(command)] + below)
        lines += section(name, help_text([command] + below))
        lines += subcommand_sections(command, below)
    return lines


def man_page(command, version):
    name = os.path.basename(command)
    text = help_text([command])
    first_line = text.strip().splitlines()[0].rstrip(".")
    lines = [f'.TH {name.upper()} 1 "" "{name} {version}" "User Commands"',
             ".SH NAME", f"{name} \\- {roff(first_line)}"]
    lines += section("SYNOPSIS", f"{name} [OPTIONS] SUBCOMMAND ...")
    lines += section("DESCRIPTION", text)
    lines += subcommand_sections(command, [])
    return "\n".join(lines).replace(command, name) + "\n"


def main():
    parser = argparse.ArgumentParser(description="man page from --help")
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("command")
    arguments = parser.parse_args()
    page = man_page(arguments.command, arguments.version)
    with open(arguments.output, "w", encoding="utf-8") as file:
        file.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
