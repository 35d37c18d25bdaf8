"""The command line under an MPI launcher: rank 0 speaks and writes, a mistake is said once, and nothing hangs."""

import json
import os
import platform
import re
import sys
from pathlib import Path

import pytest

from lessons.__main__ import main as lessons
from tests import children
from tests.own_parts import fill
from tests.ranks.together import MPIEXEC, ROOT, apart, needs_ranks, together
from tinygpt.cli import main
from tinygpt.run.launched import launched
from tinygpt.run.lock import owned

TEXT = Path(__file__).parents[1] / "memorised.txt"
SMALL = [
    f"--data={TEXT}", "--n_layer=1", "--n_head=2", "--n_embd=12", "--block_size=8", "--batch_size=3", "--max_iters=4",
    "--eval_interval=2", "--eval_iters=2", "--log_interval=1", "--sample_length=20", "--device=cpu", "--threads=1",
]  # fmt: skip
MISTAKES = {
    "a flag": (["--lr=3"], 2, "unknown flag --lr; did you mean"),
    "a shape": (["--n_embd=13"], 1, "n_embd"),
    "no text": (["--data=nowhere.txt"], 1, "nowhere.txt"),
    "no settings": (["nowhere.py"], 1, "nowhere.py"),
    "nothing to go on from": (["--init_from=resume", "--out_dir=nowhere"], 1, "nowhere holds no run to resume"),
    "a finished run": (
        ["--init_from=resume", "--out_dir=done", "--mine="],
        1,
        "the run in done has finished its 4 steps",
    ),
    "a folder in use": (["--out_dir=in-use"], 1, "another run is training in in-use"),
    "no model": (["--init_from=nowhere"], 1, "nowhere"),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A whole run of one process and of two, what each of two says of each mistake, and of one's own alone."""
    folder = tmp_path_factory.mktemp("command")
    fill(folder, "layernorm", "ring_step")
    run = [ROOT / "train.py", *SMALL, f"--mine={folder}"]
    other = ["-n", 1, sys.executable, ROOT / "train.py", *SMALL, "--out_dir=other"]
    with children.started(*other, ":", *other, "--foo", python=MPIEXEC, cwd=folder) as one_alone:
        alone = children.run(*run, "--out_dir=done", cwd=folder)
        assert alone.returncode == 0, alone.stderr
        shared = together(2, "-m", "mpi4py", *run, "--out_dir=shared", cwd=folder)
        assert shared.returncode == 0, shared.stderr
        argvs = {name: [*SMALL[1:], SMALL[0], *argv] for name, (argv, _, _) in MISTAKES.items()}
        for name in ("no model", "a finished run", "nothing to go on from"):
            argvs[name] = MISTAKES[name][0]
        (folder / "argvs.json").write_text(json.dumps(argvs))
        (folder / "in-use").mkdir()
        with owned(folder / "in-use"):
            done = together(2, "-m", "tests.ranks.commands", folder / "argvs")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        said = [json.loads((folder / f"argvs-{rank}.json").read_text()) for rank in (0, 1)]
        out, err = one_alone.communicate()
    ended = one_alone.returncode, out, err
    return {"folder": folder, "alone": alone, "shared": shared, "said": said, "one alone": ended}


def lines(done) -> list[str]:
    """What a run prints, without the times that it took, what it computed on, and the ring that several ranks need."""
    kept = [line for line in done.stdout.splitlines() if not re.match("device|time|peak memory", line)]
    kept = [line.replace("shared", "done").replace("layernorm, ring_step", "layernorm") for line in kept]
    return [re.sub(r"[\d,.]+ tokens/s.*", "", line) for line in kept]


@needs_ranks
def test_two_ranks_print_and_write_what_one_does(outputs):
    assert len(lines(outputs["shared"])) > 20
    assert lines(outputs["shared"]) == lines(outputs["alone"])
    assert re.search(r"^device .*each of 2 ranks on 1 machine", outputs["shared"].stdout, re.M)
    assert outputs["shared"].stderr == outputs["alone"].stderr == ""
    assert "used of yours: layernorm, ring_step" in outputs["shared"].stdout
    assert "used of yours: layernorm\n" in outputs["alone"].stdout
    shared, alone = (
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        for folder in (outputs["folder"] / "shared", outputs["folder"] / "done")
    )
    assert shared == alone and "metrics.jsonl" in shared


@needs_ranks
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_once(outputs, name):
    _, status, words = MISTAKES[name]
    (first, out, err), other = (said[name] for said in outputs["said"])
    assert (first, other) == (status, [status, "", ""])
    assert err.startswith("error: ") and words in err and err.count("\n") == 1 and out == ""


@needs_ranks
def test_a_wrong_flag_of_one_rank_alone_is_said_by_it_and_ends_all(outputs):
    status, out, err = outputs["one alone"]
    assert re.match(r"rank 1 of 2 on \S+: error: unknown flag --foo", err) and "Traceback" not in err, (status, err)
    assert status == 1
    assert "step" not in out


@needs_ranks
def test_every_way_to_start_a_run_leads_into_the_same_one(tmp_path):
    script = "from tinygpt.__main__ import main; raise SystemExit(main())"  # what `tinygpt` runs
    ways = [["train.py"], ["-m", "mpi4py", "train.py"], ["-m", "tinygpt", "train"], ["-c", script, "train"]]
    done = apart(*([*way, *SMALL, "--batch_size=4", f"--out_dir={tmp_path}"] for way in ways))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("best val loss") == 1 and "each of 4 ranks on 1 machine" in done.stdout


LAUNCHERS = {"PMI_SIZE": "PMI_RANK", "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK", "SLURM_NTASKS": "SLURM_PROCID"}


@pytest.fixture
def launched_by(monkeypatch):
    """The environment that a launcher gives a process."""
    for name in (*LAUNCHERS, *LAUNCHERS.values(), "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    return lambda **variables: [monkeypatch.setenv(name, str(value)) for name, value in variables.items()]


@needs_ranks
def test_processes_that_mpi_does_not_join_are_refused(tmp_path, launched_by):
    program = (
        "import os, sys\nfrom tinygpt.cli import main\n"
        "for name in sys.argv[1].split(): os.environ[name] = '2'; main(['train', *sys.argv[2:]]); del os.environ[name]"
    )
    done = children.run("-c", program, " ".join(LAUNCHERS), *SMALL, cwd=tmp_path)
    assert done.stdout == ""
    for line, what in zip(
        done.stderr.splitlines(), ("mpiexec started 2 processes",) * 2 + ("this SLURM job has 2 tasks",), strict=True
    ):
        assert re.match(rf"error: {what}, but MPI here \(.*\) knows of 1, so each would train", line)
    assert list(tmp_path.iterdir()) == []


def test_without_mpi4py_a_sentence_says_so(monkeypatch, capsys, launched_by):
    launched_by(PMI_SIZE=2)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert main(["train", *SMALL]) == 1
    start = f"error: mpiexec started 2 processes, and on {platform.node()} mpi4py, by which they would find each other,"
    assert capsys.readouterr().err.startswith(f"{start} is not installed; install")


def test_where_mpi4py_finds_no_mpi_a_sentence_says_so(tmp_path, launched_by):
    launched_by(PMI_SIZE=2)
    (tmp_path / "mpi4py.py").write_text("raise RuntimeError('cannot load MPI library\\nlibmpi.so: no such file')")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = children.run(ROOT / "train.py", *SMALL, cwd=tmp_path, env=env)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "does not load (cannot load MPI library; libmpi.so: no such file); load the cluster's MPI" in done.stderr


@pytest.mark.parametrize("command", ["sample", "eval", "show", "compare out", "info", "gradcheck layernorm", "lessons"])
def test_what_one_process_does_says_so(capsys, launched_by, command):
    name, *argv = command.split()
    launched_by(PMI_SIZE=2, PMI_RANK=0)
    assert (lessons([]) if name == "lessons" else main([name, *argv])) == 1
    assert re.match(f"error: .*{name} is one process, and mpiexec started 2, which would", capsys.readouterr().err)
    launched_by(PMI_RANK=1)
    with pytest.raises(SystemExit):
        lessons([]) if name == "lessons" else main([name, *argv])
    assert capsys.readouterr() == ("", "")


def test_a_slurm_job_of_several_tasks_may_do_what_one_process_does(launched_by):
    launched_by(SLURM_NTASKS=4)
    assert str(launched()) == "this SLURM job has 4 tasks"
    launched_by(SLURM_STEP_NUM_TASKS=1)
    assert launched().size == 1  # srun -n 1
    launched_by(SLURM_STEP_NUM_TASKS=2, SLURM_PROCID=1)
    assert launched() == ("srun", 2, 1)
