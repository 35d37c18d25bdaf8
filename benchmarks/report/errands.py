"""What is done beside the sections, in a process like theirs."""

from race.settings import batch

from report.report import Report
from report.training import Theirs, configurations


def check_card(report: Report) -> None:
    from tinygpt.device import resolve_device
    from tinygpt.errors import UserError

    try:
        resolve_device("cuda")
    except UserError as error:
        report.raw("problem", str(error))


def compiling(report: Report) -> None:
    """Lets PyTorch compile the models of `speed` beforehand, into its cache on the disk, until a file says stop."""
    who, done = Theirs(True, report.stand_in), []
    for name, settings in configurations(report.stand_in).items():
        if not (report.folder / "stop").exists():
            who.release(everything=True)
            who.prepare(settings, compiled=True)
            who.step(*batch(settings, 0))
            done.append(name)
            report.raw("done", done)


ERRANDS = {"card": check_card, "compiling": compiling}
