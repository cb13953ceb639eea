"""A disassembly as data: the instructions of a kernel, the source lines that they come from, and their mix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LINE = re.compile(r'//## File "(?P<file>[^"]*)", line (?P<line>\d+)')
_LABEL = re.compile(r"(?P<label>\.L\w*):")
_TARGET = re.compile(r"`\((?P<label>\.L\w*)\)")
_INSTRUCTION = re.compile(
    r"/\*(?P<address>[0-9a-f]{4,})\*/\s+\{?\s*(?P<text>(?P<predicate>@!?U?P\w+\s+)?(?P<opcode>[A-Z][\w.]*)[^;]*);"
)
# The groups of the mix, in the order of the tables; an instruction belongs to the first whose pattern it begins with.
# Multiplying by zero is how ptxas writes a constant into a register by a unit that is free: a move.
_GROUPS = {
    "f64": r"D(ADD|MUL|FMA|SETP|MNMX|MMA)\b|.*\.F64|MUFU\.\w*64",
    "tensor": r"[HIQBO]G?MMA\b|HGMMA|UTC\w*MMA",
    "FFMA": r"FFMA",
    "FADD": r"FADD",
    "FMUL": r"FMUL",
    "move": r"U?MOV\b|IMAD\.(MOV|U32)|HFMA2\S* \w+, -RZ, RZ|CS2R|S2U?R|R2UR|U?LDC\b|LDCU",
    "IMAD": r"U?IMAD",
    "integer": r"U?(V?I(ADD|MNMX|SETP|ABS)\w*|LEA|SH[FLR]|P?LOP3|SEL|P2R|R2P|POPC|FLO|PRMT|BMSK|SGXT)\b",
    "compare": r"F(SETP|SEL|SET|MNMX\d?|CHK)\b",
    "convert": r"(U?I2F|F2I|F2F|I2I|MUFU|FRND|I2FP|F2FP)\b",
    "LDG 16 bytes": r"LDG\.E\.(\w+\.)*128",
    "LDG 8 bytes": r"LDG\.E\.(\w+\.)*64",
    "LDG": r"LDG\b",
    "LDGSTS": r"LDGSTS|UBLKCP|UTMALDG",
    "STG": r"STG",
    "LDS": r"LDS",
    "STS": r"STS",
    "local": r"LDL|STL",
    "atomic": r"ATOM|RED\b|ATOMG|ATOMS|REDG|REDUX",
    "shuffle": r"SHFL|VOTE|MATCH",
    "barrier": r"BAR\b|DEPBAR|SYNCS|MEMBAR|WARPSYNC|ERRBAR|LDGDEPBAR",
    "branch": r"BRA|BRX|JMP|CALL|RET|EXIT|BSSY|BSYNC|BMOV|BREAK|YIELD|NANOSLEEP|KILL",
}
_KNOWN = {group: re.compile(pattern) for group, pattern in _GROUPS.items()}
GROUPS = (*_GROUPS, "other")


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        address: of its first byte in the kernel.
        text: as the disassembler writes it, with its predicate.
        opcode: with its modifiers, such as "LDG.E.128".
        file, line: of the source, or None.
        label: what branches call its place, or "".
    """

    address: int
    text: str
    opcode: str
    file: str | None
    line: int | None
    label: str = ""

    @property
    def group(self) -> str:
        """What it does, of GROUPS."""
        code = self.text[self.text.index(self.opcode) :]
        return next((group for group, known in _KNOWN.items() if known.match(code)), "other")


def parse(disassembly: str) -> tuple[Instruction, ...]:
    """The instructions of what `nvdisasm --print-line-info --print-code` prints; the padding behind them left out."""
    found: list[Instruction] = []
    file, line, label = None, None, ""
    for text in disassembly.splitlines():
        if match := _INSTRUCTION.search(text):
            words = re.sub(r"\s+", " ", match["text"]).strip()
            found.append(Instruction(int(match["address"], 16), words, match["opcode"], file, line, label))
            label = ""
        elif match := _LINE.search(text):
            file, line = match["file"], int(match["line"])
        elif match := _LABEL.match(text.strip()):
            label = match["label"]
    while found and found[-1].opcode == "NOP":
        found.pop()
    return tuple(found)


def densest_loop(instructions: Sequence[Instruction]) -> tuple[Instruction, ...]:
    """The loop whose instructions are most of all multiply-adds, FFMA or those of tensor cores; () if none has any."""
    begins = {instruction.label: place for place, instruction in enumerate(instructions) if instruction.label}
    best: tuple[Instruction, ...] = ()
    for place, instruction in enumerate(instructions):
        target = _TARGET.search(instruction.text)
        if instruction.opcode.startswith("BRA") and target and begins.get(target["label"], place) < place:
            loop = tuple(instructions[begins[target["label"]] : place + 1])
            if multiply_add_share(loop) > multiply_add_share(best):
                best = loop
    return best


def multiply_add_share(instructions: Sequence[Instruction]) -> float:
    """How many of the instructions are multiply-adds, from 0 to 1."""
    counts = mix(instructions)
    return (counts.get("FFMA", 0) + counts.get("tensor", 0)) / max(sum(counts.values()), 1)


def mix(instructions: Iterable[Instruction]) -> dict[str, int]:
    """How many instructions of each group there are, in the order of GROUPS; empty groups and NOP left out."""
    counts = Counter(instruction.group for instruction in instructions if instruction.opcode != "NOP")
    return {group: counts[group] for group in GROUPS if counts[group]}
