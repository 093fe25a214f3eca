"""A service in a control group, which it joins before it starts: `python -m tests.in_group serve`."""

import os
from pathlib import Path

from service.cli import main
from tests.cgroups import add

GROUP_VARIABLE = "TEST_GROUP"

if __name__ == "__main__":
    add(Path(os.environ[GROUP_VARIABLE]), [os.getpid()])
    main()
