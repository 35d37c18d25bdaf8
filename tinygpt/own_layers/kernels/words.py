"""What an error of the emulator's, or of g++, means to whoever wrote the kernel: lines of the file, and a sentence."""

import re

SHOWN = 3  # errors of the compiler

MEANS = [  # the first that fits the emulator's message
    (r"race: writes '(\w+)'.* which thread .* writes at .*no barrier", "all threads of the block write {0}, or two of "
     "them the same place of it. One number a row is written by one thread, if (threadIdx.x == 0), and a column by the "
     "thread that has it"),
    (r"race: .*blocks run in any order", "two blocks write to the same place: the row of block i begins at i * C, and "
     "its mean and rstd are number i"),
    (r":(\d+): race: \w+ shared.* at [^:]+:\1, with no barrier", "line {0} races with itself, in a thread that is a "
     "round of the loop ahead or behind: __syncthreads() belongs at the end of each round"),
    (r"race: reads shared", "a thread reads what another has written, and nothing makes it wait for that: "
     "__syncthreads() belongs between the two lines"),
    (r"race: writes shared", "shared memory is written while another thread, not yet as far, may still have to read "
     "it: __syncthreads() belongs between the two lines, or each sum has shared memory of its own"),
    (r"race:", "nothing says which of the two comes first: __syncthreads() belongs between them, or only one thread "
     "has that place"),
    (r"nobody in this block has written yet", "no thread of this block puts a number there. A block of blockDim.x "
     "threads has blockDim.x / 32 warps: only so many parts are there to be added up"),
    (r"diverging barrier|nobody can go on", "every thread of a block has to come to each __syncthreads(): it may not "
     "stand in an if, nor in a loop over the columns, which some of the threads leave earlier; nor may a thread return "
     "before it"),
    (r"out of bounds: reads .* null pointer", "b may be null, and then nothing is to be read of it and nothing added: "
     "b ? b[c] : 0"),
    (r"out of bounds: .* of shared memory", "a block has up to 1,024 threads, 32 warps: shared memory needs room for "
     "as many parts"),
    (r"out of bounds: ", "a row has the columns 0 to C - 1, of which a thread may have none: ask for c < C before "
     "each access"),
    (r"misaligned", "a float4 lies where 16 divides the address, and rows of C numbers begin elsewhere unless C is a "
     "multiple of 4"),
    (r"shuffle reads from lane|lanes of a warp diverge|lane that is not in the mask", "all lanes of the mask have to "
     "come to a shuffle, of the same round: no return before it, and no loop or if around it that some of them leave"),
    (r"index \d+ is outside", "a block has up to 1,024 threads, 32 warps: an array with a place for each has "
     "as many"),
    (r"still running", "is there a loop without an end? What it asks for has to change in each round: c has to grow"),
    (r"signed integer overflow|shift", "a whole number grew beyond what an int holds"),
    (r"no kernel|parameters, |argument \d|points to", "leave the kernel's name and its parameters as they were given"),
]  # fmt: skip


BARRIER = (
    "a barrier is missing: the thread that writes there may not be as far. With __syncthreads() before line {} the "
    "number is there"
)
NOT_FOR_ALL = (
    "does every thread come to the __syncthreads() of line {}? One in an if or in a loop holds back those alone that "
    "enter it. With one before line {}, which all come to, the number is there"
)


def explained(message: str, file: str, source: str, launch: str = "", barrier: bool = False) -> str:
    """An error of the emulator's in words: what happened, the lines of the file that it names, what it means. barrier:
    what nobody had written was there when there was a barrier before that line.
    """
    if message.startswith("g++ refuses"):
        return compiler_says(message, file)
    place = re.compile(rf"{re.escape(file)}:(\d+)")
    numbers = [int(number) for number in place.findall(message)]
    where = re.match(r"\w+, (block \([\d,]+\), (?:thread \([\d,]+\)|all threads)), ", message)
    what = message[where.end() :] if where else message.removeprefix(f"{message.partition(':')[0]}: ")
    says = [f"{file}{', ' if numbers else ': '}" + place.sub(r"line \1", what)]
    lines = source.splitlines()
    for number in sorted(set(numbers)):
        if 0 < number <= len(lines):
            mark = ">" if number == numbers[0] else " "
            says.append(f"{mark} {number:>4} | {lines[number - 1]}")
    said = ", ".join(filter(None, (where and where[1], launch)))
    if said:
        says.append(f"  in {said}")
    if barrier:
        held = _barrier_between(lines, numbers[0], message)
        return "\n".join([*says, "", NOT_FOR_ALL.format(held, numbers[0]) if held else BARRIER.format(numbers[0])])
    for pattern, means in MEANS:
        if match := re.search(pattern, message):
            says += ["", means.format(*match.groups())]
            break
    return "\n".join(says)


def _barrier_between(lines: list[str], read: int, message: str) -> int:
    """The line of a barrier that stands between a read of shared memory and what is written there above; 0 if none."""
    name = re.search(r"reads shared memory (\w+)", message)
    bare = [line.partition("//")[0] for line in lines[: read - 1]]
    writes = [n for n, line in enumerate(bare) if name and re.search(rf"\b{name[1]}\b[^=;]*\][^=;\]]*=(?!=)", line)]
    return next((n + 1 for n in range(writes[-1], len(bare)) if "__syncthreads()" in bare[n]), 0) if writes else 0


def compiler_says(message: str, file: str) -> str:
    """The errors of g++'s, without its warnings, each with its source line and the caret below."""
    kept: list[list[str]] = []
    keeping = False
    for line in message.splitlines():
        if match := re.match(rf"(?:{re.escape(file)}):(\d+):(?:\d+:)? (?:fatal )?error: (.*)", line):
            keeping = True
            above = "; is one missing at the end of the line above?" * bool(
                re.match(r"expected .*';' before", match[2])
            )
            kept.append([f"{file}, line {match[1]}: {match[2]}{above}"])
        elif not re.match(r"\s+\d* *\|", line):
            keeping = False
        elif keeping:
            kept[-1].append(line)
    says = ["\n".join(lines) for lines in kept[:SHOWN]]
    if len(kept) > SHOWN:
        says.append(f"and {len(kept) - SHOWN} more, which may come of these")
    return "\n".join(says) or message


FUNCTION = re.compile(r"^[ \t]*((?:[\w*&<>]+[ \t*&]+)+)(\w+)\s*\([^(){};]*\)\s*\{", re.M)  # its beginning
NO_FUNCTION = "if", "for", "while", "switch"


def not_for_a_card(source: str) -> str:
    """What g++ takes in a kernel's file and a card's compiler would not, in a sentence; "" if nothing is seen."""
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", lambda match: re.sub(r"[^\n]", " ", match[0]), source, flags=re.S)

    def line(match: re.Match) -> str:
        return f"line {bare.count(chr(10), 0, match.end(1)) + 1}"

    if match := re.search(r"^[ \t]*#\s*include\s*([<\"].*[>\"])", bare, flags=re.M):
        return f"{line(match)}: take out #include {match[1]}: sqrtf, max, min and printf are known without it"
    if match := re.search(r"\b(std::)", bare):
        return f"{line(match)}: std:: is the computer's library, which a card has not; sqrtf, max and min are known"
    for match in FUNCTION.finditer(bare):
        of_a_card = re.search(r"__(device|global)__\s*$", bare[: match.start()]) or "__" in match[1]
        if match[2] not in NO_FUNCTION and not of_a_card:
            return f"{line(match)}: {match[2]} is a function of the computer's, not of the card's: write __device__"
    return ""
