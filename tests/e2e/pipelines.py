"""Pipelines of the end-to-end tests, written with the KFP SDK.

Most components are shell commands: they start in milliseconds and say exactly what they write. What a
pipeline computes is the oracle of the test that runs it.
"""

from pathlib import Path
from typing import Optional

from kfp import compiler, dsl, kubernetes
from kfp.dsl import ContainerSpec, Dataset, Input, OneOf, Output, OutputPath, PipelineTaskFinalStatus

SHELL = ["sh", "-ec"]


@dsl.container_component
def add(a: int, b: int, total: OutputPath(int)):  # type: ignore[valid-type]
    return ContainerSpec(image="alpine", command=SHELL, args=['printf %s "$(($0 + $1))" > "$2"', a, b, total])


@dsl.container_component
def numbers(upto: int, items: OutputPath(list[int])):  # type: ignore[valid-type]
    script = 'printf "[" > "$1"; seq -s , 1 "$0" | tr -d "\\n" >> "$1"; printf "]" >> "$1"'
    return ContainerSpec(image="alpine", command=SHELL, args=[script, upto, items])


@dsl.container_component
def join(values: list, text: OutputPath(str)):  # type: ignore[valid-type]
    return ContainerSpec(image="alpine", command=SHELL, args=['printf %s "$0" > "$1"', values, text])


@dsl.container_component
def say(word: str, text: OutputPath(str)):  # type: ignore[valid-type]
    return ContainerSpec(image="alpine", command=SHELL, args=['printf %s "$0" > "$1"', word, text])


@dsl.container_component
def write(lines: int, data: Output[Dataset]):
    return ContainerSpec(image="alpine", command=SHELL, args=['seq 1 "$0" > "$1"', lines, data.path])


@dsl.container_component
def count(data: Input[Dataset], lines: OutputPath(int)):  # type: ignore[valid-type]
    return ContainerSpec(image="alpine", command=SHELL, args=['grep -c . "$0" > "$1"', data.path, lines])


@dsl.container_component
def fail(message: str):
    return ContainerSpec(image="alpine", command=SHELL, args=['echo "$0" >&2; exit 3', message])


@dsl.container_component
def wait(seconds: int):
    return ContainerSpec(image="alpine", command=SHELL, args=['sleep "$0"', seconds])


@dsl.container_component
def note(label: str, value: int, record: str, total: OutputPath(int)):  # type: ignore[valid-type]
    """Add one, and leave a line in the file ``record`` for every start."""
    script = 'echo "$0" >> "$2"; printf %s "$(($1 + 1))" > "$3"'
    return ContainerSpec(image="alpine", command=SHELL, args=[script, label, value, record, total])


@dsl.container_component
def need(file: str, value: int, text: OutputPath(str)):  # type: ignore[valid-type]
    """Fail while ``file`` does not exist."""
    script = 'test -e "$0" && printf %s "$1" > "$2"'
    return ContainerSpec(image="alpine", command=SHELL, args=[script, file, value, text])


@dsl.container_component
def third_time(marker: str, attempts: OutputPath(int)):  # type: ignore[valid-type]
    """Fail twice; ``marker`` gets a line for every start."""
    script = 'echo started >> "$0"; n=$(grep -c . "$0"); test "$n" -ge 3 && printf %s "$n" > "$1"'
    return ContainerSpec(image="alpine", command=SHELL, args=[script, marker, attempts])


@dsl.container_component
def greet(text: OutputPath(str), name: Optional[str] = None):  # type: ignore[valid-type]  # noqa: UP045 (the SDK reads no other form)
    given = dsl.IfPresentPlaceholder(input_name="name", then=[name], else_=["nobody"])
    return ContainerSpec(image="alpine", command=SHELL, args=['printf "hello %s" "$1" > "$0"', text, given])


@dsl.container_component
def put(directory: str, text: str, file: OutputPath(str)):  # type: ignore[valid-type]
    script = 'printf %s "$1" > "$0/shared"; printf %s "$0/shared" > "$2"'
    return ContainerSpec(image="alpine", command=SHELL, args=[script, directory, text, file])


@dsl.container_component
def get(file: str, text: OutputPath(str)):  # type: ignore[valid-type]
    return ContainerSpec(image="alpine", command=SHELL, args=['cat "$0" > "$1"', file, text])


@dsl.container_component
def use(record: str):
    """Say in ``record`` when it begins and when it ends."""
    script = 'echo "begin $CUDA_VISIBLE_DEVICES" >> "$0"; sleep 0.3; echo "end $CUDA_VISIBLE_DEVICES" >> "$0"'
    return ContainerSpec(image="alpine", command=SHELL, args=[script, record])


@dsl.container_component
def eat():
    """Use more and more memory."""
    return ContainerSpec(image="alpine", command=SHELL, args=["x=12345678; while true; do x=$x$x; done"])


@dsl.container_component
def whoami(text: OutputPath(str)):  # type: ignore[valid-type]
    return ContainerSpec(image="alpine", command=SHELL, args=['printf %s "$WHO" > "$0"', text])


@dsl.container_component
def run_image():
    return ContainerSpec(image="alpine")


@dsl.container_component
def run_missing():
    return ContainerSpec(image="alpine", command=["no-such-command-anywhere"])


@dsl.container_component
def kill_the_launcher():
    return ContainerSpec(image="alpine", command=SHELL, args=["kill -9 $PPID"])


@dsl.component(base_image="python:3.11")
def report(status: PipelineTaskFinalStatus) -> str:
    return f"{status.pipeline_task_name} {status.state}"


@dsl.pipeline(name="sums")
def sums(a: int = 1, b: int = 2) -> int:
    first = add(a=a, b=b)
    return add(a=first.outputs["total"], b=10).outputs["total"]


@dsl.pipeline(name="loops")
def loops(upto: int = 3) -> str:
    with dsl.ParallelFor([10, 20]) as fixed:
        add(a=fixed, b=1).set_display_name("static item")
    made = numbers(upto=upto)
    with dsl.ParallelFor(made.outputs["items"]) as outer:
        with dsl.ParallelFor([100, 200]) as inner:
            both = add(a=outer, b=inner)
        join(values=dsl.Collected(both.outputs["total"]))
    return join(values=dsl.Collected(both.outputs["total"])).outputs["text"]


@dsl.pipeline(name="branches")
def branches(limit: int = 5) -> str:
    value = add(a=2, b=2)
    with dsl.If(value.outputs["total"] > limit):
        chosen = say(word="large")
    with dsl.Else():
        other = say(word="small")
    answer = OneOf(chosen.outputs["text"], other.outputs["text"])
    return say(word=answer).outputs["text"]


@dsl.pipeline(name="artifacts")
def artifacts(lines: int = 7) -> int:
    return count(data=write(lines=lines).outputs["data"]).outputs["lines"]


@dsl.pipeline(name="inner")
def inner(start: int, step: int = 5) -> int:
    return add(a=start, b=step).outputs["total"]


@dsl.pipeline(name="nested")
def nested(start: int = 1) -> int:
    once = inner(start=start)
    return inner(start=once.output, step=100).output


@dsl.pipeline(name="empty-loop")
def empty_loop(items: list = []) -> str:  # noqa: B006 (an empty list is the point)
    with dsl.ParallelFor(items) as item:
        each = say(word=item)
    return join(values=dsl.Collected(each.outputs["text"])).outputs["text"]


@dsl.pipeline(name="exits")
def exits() -> None:
    last = report()
    with dsl.ExitHandler(last, name="guarded"):
        fail(message="this went wrong")


@dsl.pipeline(name="sleeper")
def sleeper(seconds: int = 120) -> None:
    wait(seconds=seconds)


@dsl.pipeline(name="recorded")
def recorded(record: str) -> str:
    first = note(label="first", value=1, record=record)
    with dsl.ParallelFor(["x", "y", "z"]) as label:
        each = note(label=label, value=first.outputs["total"], record=record)
    data = write(lines=first.outputs["total"])
    lines = count(data=data.outputs["data"])
    note(label="last", value=lines.outputs["lines"], record=record)
    return join(values=dsl.Collected(each.outputs["total"])).outputs["text"]


@dsl.pipeline(name="flaky")
def flaky(record: str, file: str) -> str:
    first = note(label="first", value=1, record=record)
    with dsl.ParallelFor([1, 2]):
        again = need(file=file, value=first.outputs["total"])
    return join(values=dsl.Collected(again.outputs["text"])).outputs["text"]


@dsl.pipeline(name="retried")
def retried(marker: str) -> int:
    return third_time(marker=marker).set_retry(2, backoff_duration="1s").outputs["attempts"]


@dsl.pipeline(name="greetings")
def greetings(name: Optional[str] = None) -> str:  # noqa: UP045 (the same)
    alone = greet()
    greet(name=name)
    return greet(name=alone.outputs["text"]).outputs["text"]


@dsl.pipeline(name="imports")
def imports(file: str) -> int:
    data = dsl.importer(artifact_uri=file, artifact_class=Dataset, metadata={"origin": "outside"})
    return count(data=data.output).outputs["lines"]


@dsl.pipeline(name="workspace", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Mi")))
def workspace(text: str) -> str:
    shared = put(directory=dsl.WORKSPACE_PATH_PLACEHOLDER, text=text)
    return get(file=shared.outputs["file"]).outputs["text"]


@dsl.pipeline(name="accelerated")
def accelerated(record: str) -> None:
    for _ in range(3):
        use(record=record).set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)


@dsl.pipeline(name="hungry")
def hungry() -> None:
    eat().set_memory_limit("64Mi")


@dsl.pipeline(name="needs-secret")
def needs_secret() -> str:
    task = whoami()
    kubernetes.use_secret_as_env(task, secret_name="person", secret_key_to_env={"name": "WHO"})
    return say(word=task.outputs["text"]).outputs["text"]


@dsl.pipeline(name="needs-configmap")
def needs_configmap() -> str:
    task = whoami()
    kubernetes.use_config_map_as_env(task, config_map_name="people", config_map_key_to_env={"name": "WHO"})
    return task.outputs["text"]


@dsl.pipeline(name="no-command")
def no_command() -> None:
    run_image()


@dsl.pipeline(name="missing-command")
def missing_command() -> None:
    run_missing()


@dsl.pipeline(name="killed")
def killed() -> None:
    kill_the_launcher()


PIPELINES = {
    one.name: one
    for one in (
        *(sums, loops, branches, artifacts, nested, empty_loop, exits, sleeper),
        *(recorded, flaky, retried, greetings, imports, workspace, accelerated, hungry),
        *(needs_secret, needs_configmap, no_command, missing_command, killed),
    )
}


def compile_to(directory: Path, name: str) -> Path:
    """Compile one of the pipelines; returns the file."""
    file = directory / f"{name}.yaml"
    compiler.Compiler().compile(PIPELINES[name], str(file))
    return file
