from pytest_benchmark.fixture import BenchmarkFixture

from scumble.hookspecs import RunView
from scumble.planner import compile_plans
from scumble.plans import Plan
from scumble.schedule import Job
from scumble.session import Session
from scumble_plugins.prompt_to_prompt import PromptToPrompt


def test_make_a_plan(benchmark: BenchmarkFixture, plugin: PromptToPrompt, view: RunView):
    plan = benchmark(plugin.scumble_plan, view)
    assert plan.needs == {"mix", "route", "read"}


def test_compile_a_plan(benchmark: BenchmarkFixture, plan: Plan, job: Job, session: Session):
    sizes = session.info.sizes((64, 64))
    schedule = benchmark(compile_plans, [plan], job, sizes)
    assert schedule.row_count == 3 * job.steps, "the source and two rows of the target"
