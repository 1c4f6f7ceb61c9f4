"""Tune a classifier: split a data set, train and score one model per setting, keep the best if it is good.

Everything inside the components is Python's standard library, so the pipeline runs anywhere. It uses what
a data scientist's pipeline uses: parameters, data sets and models as artifacts, a ParallelFor over
hyper-parameters, collected scores, a condition, and metrics.

Compile it (the YAML beside this file is the result)::

    python examples/tune_classifier.py

Run it on this machine::

    kfp-driver local run examples/tune_classifier.yaml -p threshold=0.9
"""

from pathlib import Path
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import ClassificationMetrics, Dataset, Input, Metrics, Model, Output

IMAGE = "python:3.11"
SETTINGS = [
    {"learning_rate": 0.0005, "epochs": 1},
    {"learning_rate": 0.01, "epochs": 20},
    {"learning_rate": 3.0, "epochs": 40},
]


@dsl.component(base_image=IMAGE)
def load_measurements(rows: int, seed: int, measurements: Output[Dataset]):
    """Two kinds of flowers, four measurements each, as CSV."""
    import csv
    import random

    source = random.Random(seed)
    centres = {0: (5.0, 3.4, 3.0, 1.0), 1: (6.2, 2.9, 4.6, 1.6)}
    with open(measurements.path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["sepal_length", "sepal_width", "petal_length", "petal_width", "kind"])
        for row in range(rows):
            kind = row % 2
            table.writerow([f"{source.gauss(centre, 0.9):.3f}" for centre in centres[kind]] + [kind])
    measurements.metadata["rows"] = rows


@dsl.component(base_image=IMAGE)
def split(
    measurements: Input[Dataset], test_share: float, seed: int, train: Output[Dataset], test: Output[Dataset]
):
    """Shuffle the rows and set a share of them apart for scoring."""
    import random

    with open(measurements.path) as file:
        header, *rows = file.read().splitlines()
    random.Random(seed).shuffle(rows)
    cut = int(len(rows) * test_share)
    for dataset, part in ((test, rows[:cut]), (train, rows[cut:])):
        with open(dataset.path, "w") as file:
            file.write("\n".join([header, *part]) + "\n")
        dataset.metadata["rows"] = len(part)


@dsl.component(base_image=IMAGE)
def train_model(train: Input[Dataset], learning_rate: float, epochs: int, model: Output[Model]):
    """Logistic regression by gradient descent."""
    import csv
    import json
    import math

    with open(train.path) as file:
        rows = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    width = len(rows[0]) - 1
    means = [sum(row[column] for row in rows) / len(rows) for column in range(width)]
    weights, bias = [0.0] * width, 0.0
    for _ in range(epochs):
        for *features, kind in rows:
            centred = [value - mean for value, mean in zip(features, means)]
            score = bias + sum(weight * value for weight, value in zip(weights, centred))
            error = 1 / (1 + math.exp(-max(-30.0, min(30.0, score)))) - kind
            weights = [weight - learning_rate * error * value for weight, value in zip(weights, centred)]
            bias -= learning_rate * error
    with open(model.path, "w") as file:
        json.dump({"weights": weights, "bias": bias, "means": means}, file)
    model.metadata["learning_rate"] = learning_rate
    model.metadata["epochs"] = epochs
    print(f"trained on {len(rows)} rows, {epochs} epochs at learning rate {learning_rate}")


@dsl.component(base_image=IMAGE)
def score_model(model: Input[Model], test: Input[Dataset], metrics: Output[Metrics]) -> float:
    """Share of the test rows that the model gets right."""
    import csv
    import json

    with open(model.path) as file:
        trained = json.load(file)
    with open(test.path) as file:
        rows = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    right = 0
    for *features, kind in rows:
        centred = [value - mean for value, mean in zip(features, trained["means"])]
        score = trained["bias"] + sum(w * value for w, value in zip(trained["weights"], centred))
        right += int((score > 0) == (kind == 1))
    accuracy = right / len(rows)
    metrics.log_metric("accuracy", accuracy)
    metrics.log_metric("test_rows", len(rows))
    return accuracy


@dsl.component(base_image=IMAGE)
def choose_best(scores: list, models: Input[list[Model]], best: Output[Model]) -> NamedTuple(
    "Choice", score=float, position=int
):
    """The model with the highest score; scores and models come in the order of the settings."""
    import shutil

    position = max(range(len(scores)), key=lambda index: scores[index])
    shutil.copyfile(models[position].path, best.path)
    best.metadata.update(models[position].metadata)
    print(f"scores {scores}: setting {position} wins")
    return (scores[position], position)


@dsl.component(base_image=IMAGE)
def publish(
    model: Input[Model], test: Input[Dataset], score: float, confusion: Output[ClassificationMetrics]
) -> str:
    """Record the confusion matrix of the chosen model and say that it may be used."""
    import csv
    import json

    with open(model.path) as file:
        trained = json.load(file)
    matrix = [[0, 0], [0, 0]]
    with open(test.path) as file:
        for *features, kind in ([float(v) for v in row] for row in list(csv.reader(file))[1:]):
            centred = [value - mean for value, mean in zip(features, trained["means"])]
            guess = trained["bias"] + sum(w * value for w, value in zip(trained["weights"], centred)) > 0
            matrix[int(kind)][int(guess)] += 1
    confusion.log_confusion_matrix(["small", "large"], matrix)
    return f"published with accuracy {score:.3f}"


@dsl.component(base_image=IMAGE)
def reject(score: float, threshold: float) -> str:
    """Say why no model was published."""
    return f"best accuracy {score:.3f} is below {threshold}"


@dsl.pipeline(name="tune-classifier", description="Train one model per setting and keep the best")
def tune_classifier(
    rows: int = 400,
    seed: int = 7,
    test_share: float = 0.25,
    threshold: float = 0.8,
    settings: list = SETTINGS,
) -> str:
    """Load, split, train and score in parallel, choose, publish."""
    loaded = load_measurements(rows=rows, seed=seed)
    parts = split(measurements=loaded.outputs["measurements"], test_share=test_share, seed=seed)
    with dsl.ParallelFor(items=settings, name="each-setting") as setting:
        trained = train_model(
            train=parts.outputs["train"], learning_rate=setting.learning_rate, epochs=setting.epochs
        )
        scored = score_model(model=trained.outputs["model"], test=parts.outputs["test"])
    chosen = choose_best(
        scores=dsl.Collected(scored.outputs["Output"]), models=dsl.Collected(trained.outputs["model"])
    )
    with dsl.If(chosen.outputs["score"] >= threshold, name="good-enough"):
        published = publish(
            model=chosen.outputs["best"], test=parts.outputs["test"], score=chosen.outputs["score"]
        )
    with dsl.Else(name="too-weak"):
        rejected = reject(score=chosen.outputs["score"], threshold=threshold)
    return dsl.OneOf(published.outputs["Output"], rejected.output)


if __name__ == "__main__":
    compiler.Compiler().compile(tune_classifier, str(Path(__file__).with_suffix(".yaml")))
