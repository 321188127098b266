"""Plugins are listed without importing, and loaded by name; a broken one is reported as its own."""

import importlib.metadata
import os
import re
import sys
from typing import Any

import pytest

from scumble.errors import OptionError, PluginError
from scumble.host import Host
from scumble.plugins import NoOptions, Plugin, list_entries, load_entry, load_plugin, options_of

GROUP = "scumble.plugins"
Install = Any
GOOD = """
from scumble import Field, Options, Plan, Plugin, hookimpl

class Settings(Options):
    strength: float = Field(default=1.0, ge=0, le=1)

class Edit(Plugin):
    options_type = Settings

    @hookimpl
    def scumble_plan(self, run):
        return Plan()
"""


def broken(install: Install, source: str, target: str = "Edit") -> str:
    """Install a plugin `odd`, try to load it, and return what is said."""
    entries = {GROUP: {"odd": f"odd_module:{target}"}}
    install("odd-package", entries, {"odd_module": source}, version="3.2")
    with pytest.raises(PluginError) as caught:
        Host([("odd", {})])
    message = str(caught.value)
    assert "'odd'" in message
    assert "odd-package 3.2" in message
    return message


class TestListing:
    def test_it_imports_nothing(self, install: Install):
        install("my-edits", {GROUP: {"mine": "edits_module:Edit"}}, {"edits_module": "1 / 0"})
        listed = list_entries()
        assert listed["mine"][0].origin == "my-edits 1.0"
        assert "edits_module" not in sys.modules

    def test_the_built_in_ones_come_by_the_same_road(self):
        (listed,) = list_entries()["prompt_to_prompt"]
        assert listed.distribution == "scumble"

    def test_an_unknown_group_is_empty(self):
        assert list_entries("scumble.nothing") == {}

    def test_two_of_a_name_are_refused_naming_both(self, install: Install):
        entries = {GROUP: {"prompt_to_prompt": "impostor_module:Edit"}}
        install("impostor", entries, {"impostor_module": GOOD}, version="6.6")
        with pytest.raises(PluginError, match=r"offered by .*impostor 6\.6.*; uninstall one"):
            load_plugin("prompt_to_prompt", {})
        with pytest.raises(PluginError, match=r"offered by .*scumble \d"):
            load_plugin("prompt_to_prompt", {})
        assert "impostor_module" not in sys.modules
        load_plugin("direct", {})

    def test_one_distribution_on_two_paths_is_no_conflict(self, install: Install):
        for _ in range(2):
            install("twice-there", {GROUP: {"mine": "mine_module:Edit"}}, {"mine_module": GOOD})
        load_plugin("mine", {})

    def test_metadata_that_is_no_list_of_entries(self, install: Install):
        install("garbled", "no section\n[scumble.plugins]\nodd = ::::\n")
        assert "prompt_to_prompt" in list_entries()
        load_plugin("prompt_to_prompt", {})
        with pytest.raises(PluginError, match=r"'odd' of garbled 1.0"):
            load_plugin("odd", {})


class TestLoading:
    def test_options_are_checked(self, install: Install):
        install("my-edits", {GROUP: {"mine": "edits_module:Edit"}}, {"edits_module": GOOD})
        _, plugin = load_plugin("mine", {"strength": 0.5})
        assert plugin.options.model_dump() == {"strength": 0.5}
        assert set(options_of("mine").model_fields) == {"strength"}
        with pytest.raises(OptionError, match=r"plugin 'mine'.*strength"):
            load_plugin("mine", {"strength": 2})
        with pytest.raises(OptionError, match="no option 'power'; it has: strength"):
            load_plugin("mine", {"power": 1})

    def test_an_unknown_name_lists_the_known_ones(self):
        with pytest.raises(OptionError, match=r"no plugin 'nope'; installed: .*prompt_to_prompt"):
            load_plugin("nope", {})
        with pytest.raises(OptionError, match=r"no engine 'nope'; installed: .*torch"):
            load_entry("scumble.engines", "nope", "engine")
        with pytest.raises(OptionError, match="no kind 'nope'; installed: none"):
            load_entry("scumble.nothing", "nope", "kind")


class TestBroken:
    """Each names plugin, distribution, version and cause."""

    @pytest.mark.parametrize(
        ("source", "cause"),
        [
            ("import not_installed_anywhere", "needs 'not_installed_anywhere', which is not inst"),
            ("def (", "cannot be imported: SyntaxError"),
            ("import sys; sys.exit(3)", "SystemExit: 3"),
            ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
            ("X = 1", "AttributeError.*Edit"),
        ],
    )
    def test_at_import(self, install: Install, source: str, cause: str):
        assert re.search(cause, broken(install, source))

    @pytest.mark.parametrize("target", ["number", "Strange", "instance"])
    def test_no_plugin(self, install: Install, target: str):
        source = GOOD + "\nnumber = 3\nclass Strange: pass\ninstance = Edit(None)"
        assert "no subclass of scumble.Plugin" in broken(install, source, target)

    def test_an_unknown_hook(self, install: Install):
        message = broken(install, GOOD.replace("scumble_plan", "scumble_plann"))
        assert "scumble_plann, which is no hook" in message
        hooks = ["after_step", "before_step", "guidance", "initial_noise", "invert", "mask", "plan"]
        assert ", ".join(f"scumble_{hook}" for hook in hooks) in message

    def test_a_hook_that_is_not_marked(self, install: Install):
        message = broken(install, GOOD.replace("    @hookimpl\n", ""))
        assert "scumble_plan without @hookimpl" in message

    def test_no_hook(self, install: Install):
        assert "implements no hook" in broken(install, GOOD.split("    @hookimpl")[0])

    def test_a_wrong_argument(self, install: Install):
        message = broken(install, GOOD.replace("(self, run)", "(self, request)"))
        assert "request" in message

    @pytest.mark.parametrize("what", ["raise KeyError('x')", "import sys; sys.exit()"])
    def test_a_constructor(self, install: Install, what: str):
        source = GOOD + f"\n    def __init__(self, options):\n        {what}\n"
        assert "raised" in broken(install, source)

    def test_a_constructor_may_refuse_its_options(self, install: Install):
        source = GOOD + (
            "\n    def __init__(self, options):\n"
            "        from scumble import OptionError\n"
            "        raise OptionError('too much')\n"
        )
        install("my-edits", {GROUP: {"mine": "edits_module:Edit"}}, {"edits_module": source})
        with pytest.raises(OptionError, match="too much"):
            load_plugin("mine", {})

    def test_others_are_not_touched(self, install: Install):
        install("odd-package", {GROUP: {"odd": "odd_module:Edit"}}, {"odd_module": "raise OSError"})
        assert Host([("prompt_to_prompt", {}), ("direct", {})]).origins.keys() == {
            "prompt_to_prompt", "direct",
        }  # fmt: skip
        assert "odd_module" not in sys.modules


def test_a_plugin_without_options_has_none():
    assert Plugin.options_type is NoOptions
    assert Plugin(NoOptions()).options == NoOptions()


def test_what_is_installed_is_looked_for_once_until_a_folder_changes(
    install: Install, monkeypatch: pytest.MonkeyPatch
):
    site = install("early", {GROUP: {"early": "early:Early"}})
    os.utime(site, (1, 1))
    scans: list[str] = []

    def noted(*, group: str) -> importlib.metadata.EntryPoints:
        scans.append(group)
        return scan(group=group)

    scan = importlib.metadata.entry_points
    monkeypatch.setattr(importlib.metadata, "entry_points", noted)
    assert "early" in list_entries()
    list_entries()["late"] = ()
    assert "late" not in list_entries()
    assert scans == [GROUP]
    # As pip does it: into a folder that was looked into before.
    info = site / "late-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nlate = late:Late\n")
    assert list_entries()["late"][0].origin == "late 1.0"
    assert scans == [GROUP, GROUP]
