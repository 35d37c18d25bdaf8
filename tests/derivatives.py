"""How the layers' tests check a gradient: as any reader of the library would."""

from tinygpt.gradcheck import gradient_check


def assert_gradients(forward, backward, inputs) -> None:
    report = gradient_check(forward, backward, inputs)
    assert report.passed and report.rows, report
