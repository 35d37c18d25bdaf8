"""Is its CuPy the one that the tests pretend?"""

from report.report import Report

PLACE, SECONDS = 20, None


def run(report: Report) -> None:
    import cupy

    from tests.cuda.expressions import EXPRESSIONS, differences

    found = differences(cupy)
    report.check("expressions that CuPy does not compute as the stand-in does", len(found), 0)
    if found:
        report.table("CuPy is not what the tests pretend", [{"expression": line} for line in found])
    report.answer(f"{len(EXPRESSIONS)} expressions, {len(found)} of them not as the stand-in has them")
