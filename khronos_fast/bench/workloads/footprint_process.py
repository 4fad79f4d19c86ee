"""The process that `footprint` starts: `python -m … CONTENDER ENTRIES [FIELDS]` prints one number."""

import json
import sys

from khronos_fast.bench.contenders import ALL
from khronos_fast.bench.workloads.footprint import measure

if __name__ == "__main__":
    name, *numbers = sys.argv[1:]
    contender = next(contender for contender in ALL if contender.name == name)
    print(json.dumps(measure(contender, *map(int, numbers))))
