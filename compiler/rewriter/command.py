"""Turn the driver pods of compiled Workflows into calls of the central driver's plugin.

FILEs hold what KFP's own compiler made: Workflows, WorkflowTemplates, CronWorkflows, Lists of them, in YAML
or JSON, one or several documents each. What has no driver pods comes out as it went in. Without FILE, or
for -, standard input is read; without -o or --in-place, YAML goes to standard output.

Examples:
  kfp-driver rewrite workflow.yaml -o rewritten.yaml
  kubectl get workflowtemplate training -o yaml | kfp-driver rewrite | kubectl apply -f -
  kfp-driver rewrite --in-place --profile profile.yaml deploy/*.yaml
  kfp-driver rewrite --check deploy/*.yaml

Warnings go to standard error. Exit codes: 0 done; 1 wrong usage, or a file that cannot be read or written;
2 refused, because a driver pod cannot become a plugin call (the code and the reason are on standard error,
nothing is written); 3 with --check, when something would change.
"""

import argparse
import json
import sys
from typing import Final

from compiler.delivery import add_delivery_arguments, chosen_delivery
from compiler.errors import OptionsError, ProfileError
from compiler.output import STANDARD_OUTPUT, write_files
from compiler.rewriter.errors import RewriteRefused
from compiler.rewriter.manifests import (
    STANDARD_INPUT,
    Manifest,
    ManifestError,
    read_manifest,
    written,
)
from compiler.rewriter.rewrite import Result, RewriteOptions, rewrite

USAGE_EXIT_CODE: Final = 1
_REFUSED: Final = 2
_WOULD_CHANGE: Final = 3


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``kfp-driver rewrite``."""
    parser.add_argument(
        "files", nargs="*", default=[STANDARD_INPUT], metavar="FILE", help="manifests to read"
    )
    target = parser.add_mutually_exclusive_group()
    target.add_argument("-o", "--output", metavar="FILE", help="write all documents to this file")
    target.add_argument("--in-place", action="store_true", help="write each file that changes where it was")
    target.add_argument("--check", action="store_true", help="write nothing; exit with 3 if anything changes")
    target.add_argument(
        "--patch",
        action="store_true",
        help="write the change as an RFC 6902 patch instead, one line for each document",
    )
    parser.add_argument(
        "--lenient",
        action="store_true",
        help="pass unknown driver flags through as plugin arguments, and drop environment that cannot be "
        "carried",
    )
    parser.add_argument(
        "--format", choices=["yaml", "json"], help="of the output (default: yaml; --in-place: as it was)"
    )
    add_delivery_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Rewrite manifests; returns the exit code.

    Raises:
        ManifestError: a file cannot be read or written, or the options make no sense.
    """
    options = _options(arguments)
    if arguments.in_place and STANDARD_INPUT in arguments.files:
        raise ManifestError("--in-place needs files")
    manifests = [read_manifest(name) for name in arguments.files]
    rewritten: list[tuple[Manifest, list[Result | None]]] = []
    refused = False
    for manifest in manifests:
        try:
            rewritten.append((manifest, [_rewritten(document, options) for document in manifest.documents]))
        except RewriteRefused as refusal:
            sys.stderr.write(f"kfp-driver rewrite: {manifest.name}: {refusal}\n")
            refused = True
    for manifest, results in rewritten:
        for warning in (one for result in results if result for one in result.warnings):
            sys.stderr.write(f"warning: {manifest.name}: {warning}\n")
    if refused:
        return _REFUSED
    if arguments.check:
        return _check(rewritten)
    _write(arguments, rewritten)
    return 0


def _options(arguments: argparse.Namespace) -> RewriteOptions:
    try:
        return RewriteOptions(plugin=chosen_delivery(arguments), lenient=arguments.lenient)
    except (ProfileError, OptionsError) as error:
        raise ManifestError(str(error)) from error


def _rewritten(document: object, options: RewriteOptions) -> Result | None:
    """The result, or ``None`` for a document that is no object and passes through."""
    return rewrite(document, options) if isinstance(document, dict) else None


def _documents(manifest: Manifest, results: list[Result | None]) -> list[object]:
    return [
        document if result is None else result.obj
        for document, result in zip(manifest.documents, results, strict=True)
    ]


def _changes(results: list[Result | None]) -> bool:
    return any(one is not None and one.changed for one in results)


def _check(rewritten: list[tuple[Manifest, list[Result | None]]]) -> int:
    changing = [manifest.name for manifest, results in rewritten if _changes(results)]
    for name in changing:
        sys.stderr.write(f"would change: {name}\n")
    return _WOULD_CHANGE if changing else 0


def _write(arguments: argparse.Namespace, rewritten: list[tuple[Manifest, list[Result | None]]]) -> None:
    if arguments.in_place:
        contents = {
            manifest.name: written(_documents(manifest, results), as_json=_as_json(arguments, manifest))
            for manifest, results in rewritten
            if _changes(results)
        }
    elif arguments.patch:
        patches = [list(one.patch) if one else [] for _, results in rewritten for one in results]
        contents = {STANDARD_OUTPUT: "".join(f"{json.dumps(one, ensure_ascii=False)}\n" for one in patches)}
    else:
        documents = [one for manifest, results in rewritten for one in _documents(manifest, results)]
        text = written(documents, as_json=arguments.format == "json")
        contents = {arguments.output or STANDARD_OUTPUT: text}
    try:
        write_files(contents)
    except OSError as error:
        raise ManifestError(f"{error.filename}: cannot be written: {error.strerror}") from error


def _as_json(arguments: argparse.Namespace, manifest: Manifest) -> bool:
    chosen = arguments.format or ("json" if manifest.is_json else "yaml")
    return bool(chosen == "json")
