"""Whatever lies where a small file is expected: a sentence, at once, and never more than a bound of memory."""

import os

import pytest

from tinygpt import UserError
from tinygpt.files import JSON_LIMIT, read_bytes, read_json

NO_JSON = {
    "nothing": b"",
    "half of it": b'{"n_layer": 1',
    "text": b"n_layer = 1",
    "zeros, as power loss leaves them": b"\0" * 100,
    "another encoding": b'{"name": "\xff\xfe"}',
    "a number of 10,000 digits": b'{"step": ' + b"9" * 10_000 + b"}",
    "10 MB of brackets": b"[" * 10_000_000,
    "10 MB of nested objects": b'{"a":' * 2_000_000,
    "a list": b"[1, 2]",
    "null": b"null",
}


@pytest.mark.parametrize("what", NO_JSON)
def test_what_is_no_json_object_is_said_in_a_short_sentence(tmp_path, what):
    path = tmp_path / "config.json"
    path.write_bytes(NO_JSON[what])
    with pytest.raises(UserError, match="config.json is damaged") as error:
        read_json(path)
    assert len(str(error.value).removeprefix(str(path))) < 200


def test_a_file_beyond_the_bound_is_refused_unread(tmp_path):
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte, of which nothing is on the disk
    with pytest.raises(UserError, match=f"config.json has 1,099,511,627,776 bytes; expected at most {JSON_LIMIT:,}"):
        read_json(path)


def test_a_file_of_exactly_the_bound_is_read(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 1000)
    assert read_bytes(tmp_path / "file", 1000) == b"x" * 1000
    with pytest.raises(UserError, match="has 1,000 bytes; expected at most 999"):
        read_bytes(tmp_path / "file", 999)


def test_folders_and_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match="could not read .*: it is a folder, not a file"):
        read_json(tmp_path)
    with pytest.raises(UserError, match="could not read .*nowhere: No such file"):
        read_json(tmp_path / "nowhere")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names, nor /dev/zero")
def test_what_may_never_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match="could not read .*: it is a pipe or a device, not a file"):
            read_json(path)
