"""A file that changes is taken whole once it stands still; a bad one changes nothing."""

import asyncio
import os
import signal

import pytest
import yaml
from structlog.testing import capture_logs

from shared import config
from shared.reading import Place
from shared.reloading import REFUSED, Reloader

SECRET = "very-secret-key"


def text(*names, **sections):
    params = {"model": "openai/m", "api_key": SECRET}
    models = [{"model_name": name, "litellm_params": params} for name in names]
    return yaml.safe_dump({"model_list": models, **sections})


class World:
    """A config file, what was taken of it, and what was said."""

    def __init__(self, folder, **sections):
        self.file = folder / "config.yaml"
        self.file.write_text(text("a", **sections))
        self.taken = []
        self.was_taken = asyncio.Event()
        running = config.load(str(self.file), {})
        self.reloader = Reloader(running, self.prepare, self.take, {})

    def prepare(self, found):
        names = [entry.model_name for entry in found.models]
        if "no-credential" in names:
            at = Place(found.file, "model_list[0].litellm_params.api_key")
            what = "is missing"
            raise at.error(what, "write one")
        return names

    def take(self, names):
        self.taken.append(names)
        self.was_taken.set()

    async def said(self):
        with capture_logs() as lines:
            await self.reloader.look()
        assert SECRET not in repr(lines)
        return lines


@pytest.fixture
def world(tmp_path):
    yield World(tmp_path)
    REFUSED.set(0)


def is_refused():
    return REFUSED._value.get() == 1


async def test_a_good_file_is_taken_with_its_warnings_and_told_of_once(world):
    world.file.write_text(text("a", "b", shiny=1))
    warning, told = await world.said()
    assert world.taken == [["a", "b"]]
    assert (warning["event"], warning["log_level"]) == ("configuration", "warning")
    assert f"{world.file}: shiny: is not a field Grantgate knows" in warning["detail"]
    assert (told["event"], told["models"]) == ("configuration_reloaded", 2)
    assert await world.said() == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("model_list: [", "line 2, column 1: is not valid YAML"),
        ("model_list:\n- model_name: b\n", "model_list[0].litellm_params: is missing; add"),
        (text("b", grantgate={"lease": 3}), "grantgate.lease: is not a setting; did you mean"),
        (text("no-credential"), "model_list[0].litellm_params.api_key: is missing; write one"),
        ("", "is empty; write `model_list: []`"),
        (None, "there is no such file"),
    ],
)
async def test_a_bad_file_is_one_line_and_the_one_before_stays(world, content, problem):
    good = world.file.read_text()
    if content is None:
        world.file.unlink()
    else:
        world.file.write_text(content)

    (line,) = await world.said()

    assert (line["event"], line["log_level"]) == ("configuration_refused", "error")
    assert line["detail"].startswith(f"{world.file}: {problem}")
    assert world.taken == []
    assert is_refused()
    assert content is None or await world.said() == []
    world.file.write_text(good + "# as before, and better\n")
    await world.said()
    assert world.taken == [["a"]]
    assert not is_refused()


async def test_a_bad_file_that_is_put_back_as_it_was_needs_no_reload(world):
    good = world.file.read_text()
    world.file.write_text("model_list: [")
    await world.said()
    world.file.write_text(good)
    assert await world.said() == []
    assert world.taken == []
    assert not is_refused()


async def test_a_touched_file_is_not_taken_again(world):
    os.utime(world.file, (1, 1))
    assert await world.said() == []
    assert world.taken == []


async def test_a_file_behind_swapped_links_is_seen(tmp_path):
    for version, names in (("v1", "a"), ("v2", "ab")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config.yaml").write_text(text(*names))
    data, file = tmp_path / "..data", tmp_path / "config.yaml"
    data.symlink_to("v1")
    file.symlink_to("..data/config.yaml")
    taken = []
    running = config.load(str(file), {})
    reloader = Reloader(running, lambda found: len(found.models), taken.append, {})
    await reloader.look()
    assert taken == []

    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(data)
    await reloader.look()

    assert taken == [2]


async def test_a_file_is_not_read_while_it_is_being_written(world):
    await world.reloader.glance()
    whole = text("a", "b", "c")
    for part in (text("a", "b"), whole):
        world.file.write_text(part)
        await world.reloader.glance()
        assert world.taken == []
    await world.reloader.glance()
    assert world.taken == [["a", "b", "c"]]


async def test_settings_and_the_master_key_are_not_reloaded_and_named_in_one_warning(world):
    changed = {"drain_s": 3, "salt_key": "another-salt"}
    key = {"master_key": "sk-another-master-key"}
    world.file.write_text(text("a", grantgate=changed, general_settings=key))
    warning, told = await world.said()
    assert warning["detail"] == (
        f"{world.file}: grantgate.salt_key, grantgate.drain_s, general_settings.master_key: "
        "read at start only; restart the service to use the change"
    )
    assert told["event"] == "configuration_reloaded"
    assert "another" not in repr(warning)


async def test_sighup_reloads_also_what_nobody_looks_at(tmp_path):
    world = World(tmp_path, grantgate={"reload_config": False})
    world.file.write_text(text("a", "b", grantgate={"reload_config": False}))
    assert await world.said() == []
    running = asyncio.create_task(world.reloader.run())
    await asyncio.sleep(0)

    for _ in range(2):  # the second time nothing has changed, and it was asked for all the same
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(world.was_taken.wait(), 10)
        world.was_taken.clear()

    assert world.taken == [["a", "b"]] * 2
    running.cancel()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
