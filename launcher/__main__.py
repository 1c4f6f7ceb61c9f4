"""``python -m launcher``: run one task of a KFP run, with the command line of KFP's own launcher.

Exit status: 0 when the task succeeded, 1 when it failed, 2 for a wrong command line, 143 when it was told
to stop. ``KFP_LAUNCHER_PROPAGATE_EXIT=1`` returns the user command's own status instead of 1.

What runs the task is loaded behind the command line. That is most of a launcher's start: no wrong flag waits
for it, and signals wait for its end, because nobody could tell the task's row before.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from launcher import flags
from launcher.certificates import trust_bundle
from launcher.errors import HelpRequestedError, LauncherError
from launcher.note import note
from launcher.termination import hold_signals


def main(argv: Sequence[str] | None = None) -> int:
    """Run the launcher; returns its exit status."""
    try:
        line = flags.parse(sys.argv[1:] if argv is None else argv)
        if line.values["copy"]:
            shutil.copy(sys.argv[0], line.values["copy"])
            Path(line.values["copy"]).chmod(0o555)
            return 0
        flags.check_required(line)
        hold_signals()
        from launcher import task  # noqa: PLC0415 (see above)

        with trust_bundle(line.values["ca_cert_path"], os.environ) as (ca_file, environment):
            return asyncio.run(task.run(line, environment, ca_file))
    except HelpRequestedError as asked:
        print(asked)  # noqa: T201
        return asked.exit_status
    except (LauncherError, OSError) as error:
        note(str(error))
        return error.exit_status if isinstance(error, LauncherError) else 1


if __name__ == "__main__":
    sys.exit(main())
