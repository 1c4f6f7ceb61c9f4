"""Compile a KFP pipeline to an Argo Workflow.

PIPELINE is what the KFP SDK compiles: YAML (with or without a platform spec), JSON, zip or tar.gz. The
result is a Workflow whose drivers are calls of the central driver's plugin instead of pods.

Example:
  kfp-driver compile training.yaml -p epochs=3 -p 'layers=[64, 32]' -o workflow.yaml

Without -o the Workflow goes to standard output. With --run-id it is bound to a KFP run, as KFP's API
server does before it submits a Workflow:

  kfp-driver compile training.yaml -p epochs=3 --run-id "$RUN_ID" --namespace team-a | kubectl create -f -

Argo 4.0 finds the plugin in an ExecutorPlugin ConfigMap. Argo 4.1 and newer take it from the Workflow:
--profile names the plugin profile (image, environment, resources) that is written into it, --delivery
inline writes the default one.

  kfp-driver compile training.yaml -p epochs=3 --profile profile.yaml -o workflow.yaml

Warnings, such as fields of the pipeline that this version does not know, go to standard error. Exit
codes: 0 done, 2 wrong usage or an unusable pipeline (one line on standard error, nothing is written).
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from compiler.delivery import Delivery, add_delivery_arguments, chosen_delivery
from compiler.errors import OptionsError, explained
from compiler.finalize import finalize_workflow
from compiler.loading import load_pipeline, unknown_field_warnings
from compiler.options import CompilerOptions, Mode
from compiler.output import write_files
from compiler.parameters import check_parameters, parse_parameters
from compiler.workflow import compile_workflow
from compiler.yaml_text import write_document

_DEFAULT_NAMESPACE: Final = "kubeflow"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``kfp-driver compile``."""
    parser.add_argument("pipeline", type=Path, metavar="PIPELINE", help="compiled pipeline to read")
    parser.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="WORKFLOW",
        help="file to write, replaced only when all went well; - is standard output (default)",
    )
    parser.add_argument(
        "-p",
        "--param",
        action="append",
        default=[],
        dest="parameters",
        metavar="NAME=VALUE",
        help="value of a pipeline parameter, may be repeated; texts as they are, numbers, true or false, "
        "lists and structs as JSON",
    )
    parser.add_argument(
        "--mode",
        choices=["plugin", "container"],
        default="plugin",
        help="run drivers as calls of the central driver (plugin, default) or as upstream's driver pods "
        "(container)",
    )
    add_delivery_arguments(parser)
    parser.add_argument(
        "--parity",
        action="store_true",
        help="reproduce the output of KFP's own compiler exactly, its defects included",
    )
    parser.add_argument(
        "--run-id", metavar="ID", help="id of the KFP run that the Workflow belongs to: makes it submittable"
    )
    parser.add_argument(
        "--namespace",
        metavar="NS",
        help=f"namespace of the Workflow (with --run-id: {_DEFAULT_NAMESPACE} unless given)",
    )
    parser.add_argument("--display-name", default="", metavar="NAME", help="display name of the run")
    parser.add_argument(
        "--pipeline-root", default="", metavar="URI", help="where artifacts go, such as s3://bucket/path"
    )
    parser.add_argument(
        "--options-from-environment",
        action="store_true",
        help="take images, proxies, CA bundle and so on from the environment variables of KFP's API server",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compile one pipeline; returns the exit code.

    Raises:
        CompilerError: something is wrong with the file, a parameter, an option or the pipeline.
    """
    _check_text(arguments)
    pipeline = load_pipeline(arguments.pipeline)
    for warning in unknown_field_warnings(pipeline):
        _warn(warning)
    values = parse_parameters(arguments.parameters, pipeline.spec)
    check_parameters(pipeline.spec, values)
    options = _options(arguments)
    with explained(f'pipeline "{pipeline.spec.pipeline_info.name}"'):
        workflow = compile_workflow(
            pipeline,
            parameters=values,
            display_name=arguments.display_name,
            pipeline_root=arguments.pipeline_root,
            options=options,
            warn=_warn,
        )
    if arguments.run_id:
        workflow = finalize_workflow(
            workflow,
            run_id=arguments.run_id,
            namespace=arguments.namespace or _DEFAULT_NAMESPACE,
            display_name=arguments.display_name or pipeline.spec.pipeline_info.name,
        )
    elif arguments.namespace:
        workflow["metadata"]["namespace"] = arguments.namespace
    try:
        write_files({arguments.output: write_document(workflow)})
    except OSError as error:
        raise OptionsError(f"{arguments.output}: cannot be written: {error.strerror or error}") from error
    return 0


def _check_text(arguments: argparse.Namespace) -> None:
    """Refuse what the shell passed as bytes that are no text: YAML could not hold it."""
    given = [("--param", text) for text in arguments.parameters]
    given += [
        (f"--{name.replace('_', '-')}", getattr(arguments, name) or "")
        for name in ("run_id", "namespace", "display_name", "pipeline_root")
    ]
    for option, text in given:
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise OptionsError(f"{option}: not UTF-8 text")


def _options(arguments: argparse.Namespace) -> CompilerOptions:
    base = (
        CompilerOptions.from_environ(os.environ) if arguments.options_from_environment else CompilerOptions()
    )
    plugin = chosen_delivery(arguments)
    if arguments.mode == Mode.CONTAINER and plugin.delivery is Delivery.INLINE:
        raise OptionsError("--mode container has no plugin to deliver; leave out --delivery and --profile")
    return replace(base, mode=Mode(arguments.mode), parity=arguments.parity, plugin=plugin)


def _warn(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")
