"""Twelve ways in which a stranger's plugin can be broken: each is told of, none touches the others.

Each is a distribution that is really installed. Its name, its version and the cause are told; and
an edit by a plugin of our own comes out the same, bit for bit, after the broken one was used.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.cli.entries import look_at
from scumble.errors import NumericalError, PluginError
from scumble.host import Host
from scumble.pipeline import Finished
from scumble.testing import run_plugin
from scumble.testing.subject import Subject

Install = Callable[..., Path]
GROUP = "scumble.plugins"

STEP = """
import itertools
import numpy as np
from scumble import Branch, Plan, Plugin, Route, hookimpl, steps_between

class Edit(Plugin):
    @hookimpl
    def scumble_after_step(self, run, step):
        {body}
"""
PLAN = STEP.replace("scumble_after_step(self, run, step)", "scumble_plan(self, run)")
GOOD = PLAN.format(body="return Plan()")
ROUTE = "Route(Branch(1), steps_between(run.steps, 0, 1), {sites}, key=Branch(0))"


@dataclass(frozen=True)
class Broken:
    """A way to be broken.

    Attributes:
        way: its name, and the plugin's.
        source: of the module.
        cause: what must be told, as a pattern.
        loads: whether it loads, and breaks in a run.
    """

    way: str
    source: str
    cause: str
    loads: bool = False


def in_step(way: str, body: str, cause: str) -> Broken:
    return Broken(way, STEP.format(body=body), cause, loads=True)


def in_plan(way: str, body: str, cause: str) -> Broken:
    return Broken(way, PLAN.format(body=body), cause, loads=True)


LOADING = [
    Broken("import_error", "from scumble import nothing_of_the_kind", "ImportError: cannot import"),
    Broken("syntax_error", "def (", "SyntaxError"),
    Broken(
        "missing_dependency", "import not_there_at_all", "needs 'not_there_at_all', which is no"
    ),
    Broken("exit_at_import", "import sys; sys.exit(3)", "SystemExit: 3"),
    Broken("wrong_hook", GOOD.replace("_plan", "_plann"), "scumble_plann, which is no hook"),
    Broken("yields", PLAN.format(body="yield Plan()"), "scumble_plan yields, so it never answers"),
    Broken(
        "is_async",
        GOOD.replace("def scumble_plan", "async def scumble_plan"),
        "scumble_plan is async, and nobody awaits it",
    ),
    Broken("other_exception", "class Stop(BaseException): ...\nraise Stop('here')", r"Stop: here"),
]
RUNNING = [
    in_step(
        "raises_late",
        "if step.index == 2: raise RuntimeError('no luck')",
        r"raised RuntimeError in scumble_after_step at step 2: no luck\.",
    ),
    in_step(
        "exits_late", "import sys; sys.exit(5)", "raised SystemExit in scumble_after_step at s"
    ),
    in_step(
        "nan",
        "return {1: step.latents[1] * np.nan}",
        "gave in scumble_after_step at step 0 holds 256 values that are not finite",
    ),
    in_step(
        "wrong_shape",
        "return {1: step.latents[1][:, :4]}",
        r"scumble_after_step at step 0 gave picture 1 of shape \(4, 4, 8\)",
    ),
    in_step("mutates", "step.latents[1][...] = 0", "ValueError in scumble_after_step .*read-only"),
    in_plan("mutates_the_run", "run.image[...] = 0", "raised ValueError in scumble_plan: .*read-o"),
    in_plan("mutates_masks", "run.masks['sky'] = run.image[0]", "raised TypeError in scumble_plan"),
    in_plan(
        "endless_controls",
        f"return Plan(itertools.repeat({ROUTE.format(sites=(0,))}))",
        "in scumble_plan: a plan holds a tuple of controls",
    ),
    in_plan(
        "endless_sites",
        f"return Plan(({ROUTE.format(sites='itertools.count()')},))",
        "in scumble_plan: the sites of a Route are a tuple",
    ),
]
DISTURBING = [
    in_step(
        "global_state",
        "np.random.seed(1); np.seterr(all='raise')",
        "changed numpy's global random state and handling of errors in scumble_after_step; it was",
    ),
]
WAYS = [*LOADING, *RUNNING, *DISTURBING]


def installed(install: Install, broken: Broken) -> str:
    """Install it, and return what has to be told of it as a pattern."""
    module = f"broken_{broken.way}"
    entries = {GROUP: {broken.way: f"{module}:Edit"}}
    install(f"odd-{broken.way}", entries, {module: broken.source}, version="3.2")
    return rf"'{broken.way}' of odd-{broken.way} 3\.2.*{broken.cause}"


def picture() -> Any:
    return np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def edit(name: str) -> Finished:
    """Use an installed plugin, as an editor does."""
    return run_plugin(Host([(name, {})]), image=picture())


@pytest.fixture(scope="module")
def expected() -> dict[int, Any]:
    """What Prompt-to-Prompt makes of a picture where nothing is broken."""
    return edit("prompt_to_prompt").latents


def require_unchanged(expected: dict[int, Any]) -> None:
    latents = edit("prompt_to_prompt").latents
    assert latents.keys() == expected.keys()
    for one, latent in latents.items():
        np.testing.assert_array_equal(latent, expected[one])


@pytest.mark.parametrize("broken", [*LOADING, *RUNNING], ids=lambda broken: broken.way)
def test_it_is_told_of_and_touches_nothing(
    broken: Broken, install: Install, expected: dict[int, Any]
):
    told = installed(install, broken)
    require_unchanged(expected)
    handling = np.geterr()
    np.random.seed(11)
    drawn = np.random.standard_normal(3)
    np.random.seed(11)
    with pytest.raises((PluginError, NumericalError), match=re.compile(told, re.DOTALL)):
        edit(broken.way)
    np.testing.assert_array_equal(np.random.standard_normal(3), drawn)
    assert np.geterr() == handling
    require_unchanged(expected)


def test_what_it_does_to_numpy_is_put_back_and_noted(install: Install, expected: dict[int, Any]):
    (broken,) = DISTURBING
    told = installed(install, broken)
    handling = np.geterr()
    np.random.seed(11)
    drawn = np.random.standard_normal(3)
    np.random.seed(11)
    (note,) = edit(broken.way).notes
    assert re.search(told, note)
    np.testing.assert_array_equal(np.random.standard_normal(3), drawn)
    assert np.geterr() == handling
    require_unchanged(expected)


@pytest.mark.parametrize("where", ["import", "constructor"])
def test_nor_does_it_reach_numpy_before_its_hooks(
    where: str, install: Install, expected: dict[int, Any]
):
    disturb = "np.random.seed(1); np.seterr(all='raise')"
    source = f"import numpy as np\n{disturb}\n{GOOD}" if where == "import" else GOOD
    if where == "constructor":
        source += f"\n    def __init__(self, options=None):\n        {disturb}\n"
    install("odd-early", {GROUP: {"early": "broken_early:Edit"}}, {"broken_early": source})
    handling = np.geterr()
    np.random.seed(11)
    drawn = np.random.standard_normal(3)
    np.random.seed(11)
    edit("early")
    np.testing.assert_array_equal(np.random.standard_normal(3), drawn)
    assert np.geterr() == handling
    require_unchanged(expected)


def test_a_name_that_two_offer_is_refused_naming_both(install: Install, expected: dict[int, Any]):
    for name in ("ddim", "twice"):
        for number in (1, 2):
            module = f"broken_{name}_{number}"
            entries = {GROUP: {name: f"{module}:Edit"}}
            install(f"odd-{name}-{number}", entries, {module: GOOD}, version=f"{number}.5")
    with pytest.raises(PluginError, match=r"odd-twice-2 2\.5 and odd-twice-1 1\.5; uninstall one"):
        edit("twice")
    with pytest.raises(PluginError, match=r"odd-ddim-1 1\.5.*scumble \d"):
        Host([("ddim", {})])
    assert not any(name.startswith("broken_") for name in sys.modules)
    require_unchanged(expected)


def test_the_doctor_sees_them_all(install: Install):
    """Loaded and tried in another process, as `scumble doctor` does."""
    told = {broken.way: installed(install, broken) for broken in WAYS}
    for number in (1, 2):
        entries = {GROUP: {"twice": f"broken_{number}:Edit"}}
        install(f"odd-{number}", entries, {f"broken_{number}": GOOD}, version=f"{number}.5")
    install("odd-fine", {GROUP: {"fine": "fine_module:Edit"}}, {"fine_module": GOOD})
    found = {entry.name: entry for entry in look_at(["plugin"], tried=True)}
    for way, pattern in told.items():
        entry = found[way]
        assert entry.origin == f"odd-{way} 3.2"
        assert re.search(pattern, str(entry.problem)), (way, entry.problem)
    assert found["twice"].origin == "odd-2 2.5 and odd-1 1.5"
    assert "uninstall one of them" in str(found["twice"].problem)
    assert (found["fine"].problem, found["fine"].facts["tried"]) == (None, "yes")
    ours = [entry for entry in found.values() if entry.origin.startswith("scumble ")]
    assert len(ours) >= 7
    assert [entry.problem for entry in ours if entry.problem] == []
    assert not any(name.startswith(("broken_", "fine_module")) for name in sys.modules)


@pytest.mark.thorough
def test_one_that_never_answers_is_given_up(install: Install):
    """No process can stop its own loop, so an edit would hang: but not the doctor."""
    hangs = in_plan("hangs", "while True: pass", "")
    installed(install, hangs)
    leave = [f"plugin {entry.name}" for entry in look_at(["plugin"], patience=60)]
    leave.remove("plugin hangs")
    (found,) = (
        entry
        for entry in look_at(["plugin"], leave_out=leave, patience=8, tried=True)
        if entry.name == "hangs"
    )
    assert found.origin == "odd-hangs 3.2"
    assert found.problem == "was not loaded and tried within 8 seconds."


@pytest.mark.slow
def test_the_command_shows_them(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`scumble doctor`, as a user starts it: a row each, exit code 1, no traceback."""
    sites = [str(install("odd-fine", {GROUP: {"fine": "fine_module:Edit"}}, {"fine_module": GOOD}))]
    for broken in WAYS:
        module = f"broken_{broken.way}"
        entries = {GROUP: {broken.way: f"{module}:Edit"}}
        made = install(f"odd-{broken.way}", entries, {module: broken.source}, version="3.2")
        sites.append(str(made))
    monkeypatch.setenv("PYTHONPATH", ":".join(sites))
    program = "import scumble.cli; scumble.cli.main()"
    command = [sys.executable, "-c", program, "doctor", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    problems = " ".join(json.loads(done.stdout)["problems"])
    for broken in WAYS:
        assert f"plugin {broken.way}: " in problems
        assert f"odd-{broken.way} 3.2" in problems
    assert "plugin fine" not in problems


def test_the_trial_uses_the_distributions_own_name(install: Install):
    (broken,) = DISTURBING
    told = installed(install, broken)
    (note,) = Subject.of(broken.way).run({}).notes
    assert re.search(told, note)
