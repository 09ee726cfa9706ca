"""Where programs are looked for: some come with what tests need, and that need not be on PATH."""

import os
import sys
from pathlib import Path
from typing import Final

PATH: Final = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
