"""Pipelines that use what the KFP SDK can express: loops, conditions, exit handlers, importers, settings."""
# mypy: ignore-errors
# The SDK's decorators are untyped, and annotations are its own language.

from kfp import dsl


@dsl.component(base_image="python:3.11")
def make(n: int, text: str = "a", flag: bool = True, parts: list = [1, 2.5, "x"]) -> float:  # noqa: B006
    return n + len(text) + len(parts) + flag


@dsl.component(base_image="python:3.11")
def train(x: float, model: dsl.Output[dsl.Model], options: dict = {}) -> str:  # noqa: B006
    return f"{x}{options}{model.name}"


@dsl.component(base_image="python:3.11")
def evaluate(models: dsl.Input[list[dsl.Model]], status: str = "") -> str:
    return status + str(len(models))


@dsl.container_component
def shell(text: str, out: dsl.OutputPath(str)):  # noqa: ANN201 (the SDK reads a return type as an output)
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", dsl.ConcatPlaceholder(["echo ", text])],
        args=[dsl.IfPresentPlaceholder("text", then=["--text", text], else_=["--none"]), out],
    )


@dsl.component(base_image="python:3.11")
def clean_up(status: dsl.PipelineTaskFinalStatus) -> None:
    print(status)  # noqa: T201


@dsl.pipeline(name="inner")
def inner(n: int) -> float:
    return make(n=n).output


@dsl.pipeline(name="loops")
def loops(items: list = [1, 2]) -> str:  # noqa: B006
    with dsl.ParallelFor(items, parallelism=2) as item:
        with dsl.ParallelFor([3, 4]) as other:
            make(n=other)
        trained = train(x=make(n=item).output)
    return evaluate(models=dsl.Collected(trained.outputs["model"])).output


@dsl.pipeline(name="conditions")
def conditions(n: int = 3) -> float:
    first = inner(n=n)
    with dsl.If(first.output > 2):
        big = make(n=1)
    with dsl.Elif(first.output == 1):
        middle = make(n=2)
    with dsl.Else():
        small = make(n=3)
    return dsl.OneOf(big.output, middle.output, small.output)


@dsl.pipeline(name="settings", display_name="Settings", description="All that a task can be told.")
def settings(text: str = "ü") -> None:
    done = clean_up()
    with dsl.ExitHandler(done, name="guard"):
        said = shell(text=text).set_retry(
            num_retries=2, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="1h"
        )
        said.set_cpu_limit("2").set_memory_request("1G").set_accelerator_type("nvidia.com/gpu")
        said.set_accelerator_limit(1).set_env_variable("A", "b").set_caching_options(True, cache_key="k")
        model = dsl.importer(
            artifact_uri="s3://bucket/model",
            artifact_class=dsl.Model,
            reimport=True,
            metadata={"depth": 3, "rate": 0.5, "nested": {"x": [1]}},
        )
        train(x=1.0, options={}).after(said, model).ignore_upstream_failure()
