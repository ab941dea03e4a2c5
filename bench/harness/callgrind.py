"""Reads what callgrind wrote: in whose code the instructions were spent."""

import re
from collections import Counter
from pathlib import Path

# The first that a function's name, or else its object's file name, fits.
AREAS = (
    ("Tollgate", re.compile(r"\btollgate")),
    ("hyper, httparse", re.compile(r"\b(hyper|httparse)")),
    ("header maps and names", re.compile(r"\bhttp::")),
    ("tokio", re.compile(r"\b(tokio|mio)\b")),
)
OBJECTS = (
    ("the guest's compiled code", re.compile(r"^[0-9a-f]{64}-.*\.so$")),
    ("WasmEdge", re.compile(r"^lib(wasmedge|stdc\+\+|spdlog|fmt)")),
    ("libc: memory, copies", re.compile(r"^(libc|ld-linux)")),
)
OTHER = "Rust's core and allocation"


def spent(file: Path) -> Counter:
    """Instructions of each area, without those of what it calls. The format is described in Valgrind's manual, "Callgrind
    Format Specification": names are told once, with a number that stands for them from then on."""
    names: dict[tuple[str, str], str] = {}
    areas: Counter = Counter()
    objects, function, is_call = "", "", False

    def name(kind: str, text: str) -> str:
        number, _, told = text.partition(" ")
        return names.setdefault((kind, number), told) if told else names.get((kind, number), number)

    for line in file.read_text(errors="replace").splitlines():
        key, found, value = line.partition("=")
        if line and line[0] in "0123456789+-*":
            # The line after `calls=` is what the called function took.
            if not is_call:
                areas[area(objects, function)] += int(line.split()[-1])
            is_call = False
        elif key in ("ob", "cob"):
            told = name("object", value)
            objects = told if key == "ob" else objects
        elif key in ("fn", "cfn"):
            told = name("function", value)
            function = told if key == "fn" else function
        elif key == "calls" and found:
            is_call = True
    return areas


def area(objects: str, function: str) -> str:
    file = objects.rpartition("/")[2]
    for title, fits in OBJECTS:
        if fits.search(file):
            return title
    return next((title for title, fits in AREAS if fits.search(function)), OTHER)
