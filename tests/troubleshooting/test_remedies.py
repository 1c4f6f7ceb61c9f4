"""What to do, by message. Oracle: the messages of runner, launcher and resolver."""

import pytest

from troubleshooting.remedies import remedy_for


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            'environment variable T needs Secret "s", which has no key "k"; put its value into the file /d/k',
            "the file that the message names",
        ),
        (
            'environment variable T needs ConfigMap "s", which has no key "k"; put its value into file /k',
            "the file that the message names",
        ),
        ('failed to execute component: exec: "--x": executable file not found in $PATH', "installed on this"),
        (
            'task "g": resolving parameter "pipelinechannel--loop-item-param-3": the resolved input is null',
            "The SDK loses",
        ),
        ('task "g": resolving parameter "x": the resolved input is null', "has not written this output"),
        ("failed to execute component: exit status 1", "component's own code failed"),
        ("a message that nobody knows", ""),
    ],
)
def test_a_message_gets_the_most_special_advice(message: str, told: str) -> None:
    advice = remedy_for(message)
    assert told in advice
    assert bool(advice) is bool(told)
