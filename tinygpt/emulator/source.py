"""What is changed in a kernel's text before g++ reads it. Every line stays on its line."""

import re
from typing import NamedTuple

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_CUDA_HEADER = re.compile(r"#\s*include\s*[<\"]cuda\w*\.h[>\"]")
_BRACKETS = r"\(((?:[^()]|\([^()]*\))*)\)"
_KERNEL = re.compile(
    r"(?:extern\s+\"C\"\s+)?__global__((?:\s+void\b|\s*__launch_bounds__\s*" + _BRACKETS + r")+)"
    r"\s+(\w+)\s*\(([^()]*)\)\s*\{"
)
_ALIGN = r"((?:(?:__align__|alignas)\s*\([^()]*\)\s*)?)"
_DYNAMIC = re.compile(r"extern\s+__shared__\s+" + _ALIGN + r"([\w:\s]+?)\s*\b(\w+)\s*\[\s*\]\s*;")
_NAME = r"\w+\s*(?:\[[^\]]*\]\s*)*"
_STATIC = re.compile(rf"\b(?:static\s+)?__shared__\s+{_ALIGN}((?:[A-Za-z_][\w:]*\s+)+)({_NAME}(?:,\s*{_NAME})*);")
GAPPED = "emu_gapped_"  # the name of a shared variable with its gap begins with this


class Prepared(NamedTuple):
    text: str
    parameters: dict[str, list[str]]  # of each kernel


def prepare(source: str) -> Prepared:
    """The text for g++, and the names of its kernels' parameters."""
    bare = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)
    parameters, pieces, end = {}, [], 0
    for match in _KERNEL.finditer(bare):
        _, bounds, name, given = match.groups()
        parameters[name] = [_last_word(parameter) for parameter in given.split(",") if parameter.strip()]
        # Before the kernel, not at the text's end: where the preprocessor drops the kernel, it drops this
        given, bounds = (" ".join((part or "").split()) for part in (given, bounds))  # on one line
        entry = f'extern "C" void {name}({given}); EMU_KERNEL({name}, {bounds}) '
        pieces += [source[end : match.start()], entry]
        end = match.start()
    text = "".join(pieces) + source[end:]
    text = _CUDA_HEADER.sub("", text)
    text = _DYNAMIC.sub(r'extern EMU_DYNAMIC \2 \3[] __asm__("emu_dynamic");', text)  # another name of the runtime's
    text = _STATIC.sub(_with_gaps, text)
    return Prepared(f"{text}\nEMU_MODULE\n", parameters)


def _last_word(parameter: str) -> str:
    return re.sub(r".*?(\w+)\s*(\[\])?$", r"\1", parameter.strip(), flags=re.S)


def _with_gaps(match: re.Match) -> str:
    """A static shared variable in a structure with a tail that nobody may touch, so that an index past the end of one
    array does not reach the next unseen. In no section of its own: g++ refuses that in inline functions and templates.
    """
    align, kind, names = match.groups()
    out = ""
    for declarator in re.findall(_NAME, names):
        name = re.split(r"\W", declarator)[0]
        out += f"static {align}struct {{ {kind}{declarator}; char emu_gap[EMU_GAP]; }} {GAPPED}{name}; "
        out += f"auto& {name} = {GAPPED}{name}.{name}; "
    return out
