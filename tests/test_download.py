"""What is fetched is what was asked for, and lies where nobody else can put another thing."""

import io
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tinygpt import GPT, GPTConfig, UserError, checkpoint
from tinygpt.checkpoint import Pin
from tinygpt.files import cache_folder, download, sha256
from tinygpt.models.gpt2 import GPT2_SIZES


def test_openais_weights_without_a_network_name_the_folder_to_fill(monkeypatch):
    def no_network(url, timeout):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(UserError, match="Could not fetch https://huggingface.co/.*gpt2-medium.*or put config.json"):
        GPT.from_pretrained("gpt2-medium")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """What a server has of a model called gpt2-medium, here of one layer and two channels: a folder; and what is asked
    of it: a list of addresses.
    """
    monkeypatch.setitem(GPT2_SIZES, "gpt2-medium", (1, 1, 2))
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    folder, fetched = tmp_path / "server", []
    GPT(GPTConfig.preset("gpt2-medium", dropout=0.1), seed=3).save_pretrained(folder)

    def urlopen(url, timeout):
        fetched.append(url)
        return (folder / url.rsplit("/", 1)[1]).open("rb")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return folder, fetched


def cached(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_openais_weights_are_fetched_once_at_a_revision_that_stays(server, tmp_path):
    folder, fetched = server
    for _ in range(2):
        np.testing.assert_array_equal(
            GPT.from_pretrained("gpt2-medium").params.flat, GPT.from_pretrained(folder).params.flat
        )
    at = "https://huggingface.co/openai-community/gpt2-medium/resolve/6dcaa7a952f72f9298047fd5137cd6e4f05f41da/"
    assert fetched == [at + "config.json", at + "model.safetensors"]
    assert cached(tmp_path) == ["config.json", "model.safetensors", "model.safetensors.sha256"]
    record = (tmp_path / "cache" / "gpt2-medium" / "model.safetensors.sha256").read_text()
    assert record == f"{sha256(folder / 'model.safetensors')}  model.safetensors\n"


def test_every_download_has_a_revision_of_its_own():
    assert checkpoint.PINS.keys() == GPT2_SIZES.keys()
    assert len({pin.revision for pin in checkpoint.PINS.values()}) == 4
    assert all(re.fullmatch("[0-9a-f]{40}", pin.revision) for pin in checkpoint.PINS.values())


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            GPTConfig(5, 7, 2, 2, 6),
            "config.json is not the file expected .it has block_size = 5, but gpt2-medium has 1024",
        ),
        (GPTConfig.preset("gpt2-medium", n_layer=1, n_head=2, n_embd=2), "it has n_head = 2, but gpt2-medium has 1"),
    ],
)
def test_another_model_is_not_taken_for_the_one_that_has_the_name(server, tmp_path, config, sentence):
    GPT(config).save_pretrained(server[0])
    with pytest.raises(UserError, match=f"What came from https.*{sentence}.*; with a network it is fetched once"):
        GPT.from_pretrained("gpt2-medium")
    assert cached(tmp_path) == []


def test_weights_of_other_shapes_are_not_cached(server, tmp_path):
    folder, _ = server
    config = (folder / "config.json").read_bytes()
    GPT(GPTConfig.preset("gpt2-medium", block_size=512)).save_pretrained(folder)
    (folder / "config.json").write_bytes(config)
    with pytest.raises(
        UserError, match=r"not the file expected .it has \(512, 2\) for wpe.weight, but .* has \(1024, 2\)"
    ):
        GPT.from_pretrained("gpt2-medium")
    assert cached(tmp_path) == ["config.json"]


def test_weights_that_have_a_known_digest_must_have_it(server, tmp_path, monkeypatch):
    weights = server[0] / "model.safetensors"
    size, digest = weights.stat().st_size, sha256(weights)
    monkeypatch.setitem(checkpoint.PINS, "gpt2-medium", Pin("0" * 40, size, "f" * 64))
    with pytest.raises(
        UserError, match=f"not the file expected .its SHA-256 is {digest}, and that of gpt2-medium ffff"
    ):
        GPT.from_pretrained("gpt2-medium")
    monkeypatch.setitem(checkpoint.PINS, "gpt2-medium", Pin("0" * 40, size - 1, digest))
    with pytest.raises(UserError, match=f"more than the {size - 1:,} bytes expected"):
        GPT.from_pretrained("gpt2-medium")
    assert cached(tmp_path) == ["config.json"]
    monkeypatch.setitem(checkpoint.PINS, "gpt2-medium", Pin("0" * 40, size, digest))
    GPT.from_pretrained("gpt2-medium")


def test_fetched_weights_that_have_changed_since_are_noticed(server, tmp_path):
    GPT.from_pretrained("gpt2-medium")
    path = tmp_path / "cache" / "gpt2-medium" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        UserError, match="is not what is fetched as gpt2-medium: its SHA-256 is another; .*; remove .* is fetched anew"
    ):
        GPT.from_pretrained("gpt2-medium")


@pytest.mark.parametrize("record", [None, "fitting"])
def test_cached_weights_with_a_known_digest_must_have_it_whatever_lies_beside_them(
    server, tmp_path, monkeypatch, record
):
    folder = Path(shutil.copytree(server[0], tmp_path / "cache" / "gpt2-medium"))
    digest = sha256(folder / "model.safetensors")
    if record:
        (folder / "model.safetensors.sha256").write_text(f"{digest}  model.safetensors\n")
    monkeypatch.setitem(checkpoint.PINS, "gpt2-medium", Pin("0" * 40, None, digest))
    GPT.from_pretrained("gpt2-medium")
    monkeypatch.setitem(checkpoint.PINS, "gpt2-medium", Pin("0" * 40, None, "f" * 64))
    with pytest.raises(UserError, match="its SHA-256 is another; give the path of a folder for a model of your own"):
        GPT.from_pretrained("gpt2-medium")
    assert server[1] == []


def test_a_cached_model_of_an_earlier_version_is_looked_at_too(server, tmp_path):
    folder = tmp_path / "cache" / "gpt2-medium"
    GPT(GPTConfig(5, 7, 2, 2, 6)).save_pretrained(folder)
    with pytest.raises(
        UserError, match="cache/gpt2-medium/config.json has block_size = 5, but .*; remove .*, and gpt2-medium"
    ):
        GPT.from_pretrained("gpt2-medium")
    shutil.copy(server[0] / "config.json", folder)
    with pytest.raises(
        UserError, match=r"model.safetensors has \(7, 6\) for wte.weight, but .*; remove .*, and gpt2-medium"
    ):
        GPT.from_pretrained("gpt2-medium")
    assert server[1] == []


def test_files_that_the_user_put_there_need_no_network(server, tmp_path):
    shutil.copytree(server[0], tmp_path / "cache" / "gpt2-medium")
    np.testing.assert_array_equal(
        GPT.from_pretrained("gpt2-medium").params.flat, GPT.from_pretrained(server[0]).params.flat
    )
    assert server[1] == [] and cached(tmp_path) == ["config.json", "generation_config.json", "model.safetensors"]


def test_a_download_stops_where_it_is_longer_than_it_can_be(tmp_path, monkeypatch):
    class Endless:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, size):
            self.pieces = getattr(self, "pieces", 0) + 1
            return b"x" * size

    response = Endless()
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: response)
    with pytest.raises(UserError, match="it has more than the 5,000,000 bytes expected.; do this"):
        download("https://example.org/file", tmp_path / "file", "do this", limit=5_000_000)
    assert response.pieces < 10 and not list(tmp_path.iterdir())


def test_a_length_that_the_server_tells_is_enough_to_refuse(tmp_path, monkeypatch):
    class Response(io.BytesIO):
        length = 10**12

    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Response(b"x" * 10))
    with pytest.raises(UserError, match="more than the 16,777,216 bytes expected"):
        download("https://example.org/file", tmp_path / "file", "do this")


@pytest.mark.parametrize(
    "leads_to", ["http://example.org/file", "ftp://example.org/file", "file:///etc/passwd", "httpsx://example.org/file"]
)
def test_a_redirection_to_what_nothing_protects_is_refused(tmp_path, monkeypatch, leads_to):
    class Response(io.BytesIO):
        url = leads_to

    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Response(b"x"))
    with pytest.raises(UserError, match=f"it leads to {leads_to}, which nothing protects on its way.; do this"):
        download("https://example.org/file", tmp_path / "file", "do this")
    assert not list(tmp_path.iterdir())


def test_an_address_that_is_none_is_a_short_sentence(tmp_path, monkeypatch):
    def urlopen(url, timeout):
        raise ValueError(f"unknown url type: {'x' * 10_000}")

    class Response(io.BytesIO):
        url = "https://[::1/file"  # where it led to

    for opened in (urlopen, lambda url, timeout: Response(b"x")):
        monkeypatch.setattr("urllib.request.urlopen", opened)
        with pytest.raises(UserError, match="Could not fetch https://example.org/file .*; do this") as error:
            download("https://example.org/file", tmp_path / "file", "do this")
        assert len(str(error.value)) < 400


# The cache folder


POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows keeps the cache in the user's own folder")


def given_to_another_user(folder, monkeypatch):
    if os.getuid() == 0:
        os.chown(folder, 12345, -1)
    else:
        monkeypatch.setattr("os.getuid", lambda: 12345)


@POSIX
def test_the_cache_folder_is_made_for_its_owner_alone_whatever_the_umask(tmp_path, monkeypatch):
    before = os.umask(0)
    try:
        monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "new" / "cache"))
        folder = cache_folder()
        assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)] == [0o700, 0o700]
    finally:
        os.umask(before)


@POSIX
@pytest.mark.parametrize("mode", [0o700, 0o755, 0o770, 0o775])
def test_a_cache_folder_that_others_cannot_write_is_used(tmp_path, monkeypatch, mode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    (tmp_path / "link").symlink_to("cache")
    for name in ("cache", "link"):
        monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / name))
        assert cache_folder() == tmp_path / name


@POSIX
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_a_cache_folder_that_everyone_can_write_is_refused(tmp_path, monkeypatch, mode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        UserError, match="cache can be written to by every user; set TINYGPT_CACHE to a folder of your own"
    ):
        cache_folder()


@POSIX
@pytest.mark.parametrize("name", ["open/cache", "link"])
def test_a_cache_folder_that_everyone_could_replace_is_refused(tmp_path, monkeypatch, name):
    (tmp_path / "open" / "cache").mkdir(parents=True)
    (tmp_path / "link").symlink_to("open/cache")
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / name))
    (tmp_path / "open").chmod(0o1777)  # as /tmp is: everyone can write there, but only to what is their own
    assert cache_folder() == tmp_path / name
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(UserError, match=f"{name} can be replaced by every user, since each can write to .*open; set"):
        cache_folder()


@POSIX
def test_a_cache_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "theirs"))
    given_to_another_user(tmp_path / "theirs", monkeypatch)
    with pytest.raises(UserError, match="theirs belongs to another user; set TINYGPT_CACHE to a folder of your own"):
        cache_folder()


@POSIX
@pytest.mark.parametrize("planted", ["link", "folder", "open"])
def test_what_another_user_planted_among_the_temporary_files_is_refused(tmp_path, monkeypatch, planted):
    (tmp_path / "file").write_text("in the way of the usual place")
    monkeypatch.setenv("TINYGPT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    folder = cache_folder()
    assert folder.parent == tmp_path / "temporary" and stat.S_IMODE(folder.stat().st_mode) == 0o700
    sentence = {"link": "is a link", "folder": "belongs to another user", "open": "can be written to by every user"}
    if planted == "link":
        folder.rename(tmp_path / "elsewhere")  # this user's own, where an attacker would like files to go
        folder.symlink_to(tmp_path / "elsewhere")
    elif planted == "folder":
        monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
        given_to_another_user(folder, monkeypatch)
        if os.getuid() == 12345:  # the name has the user's number in it
            folder.rename(folder.with_name("tinygpt-12345"))
    else:
        folder.chmod(0o777)
    with pytest.raises(UserError, match=f"{sentence[planted]}.*; set TINYGPT_CACHE to a folder of your own"):
        cache_folder()
