"""Seconds that the search for near duplicates takes; writes
benchmarks/results/duplicate_search_NAME.json.

    python benchmarks/duplicate_search.py DATA [--repeats 3]

Features are computed first, or read if an earlier audit left them, and timed apart.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch

from eyesight.auditing import copies, features
from eyesight.auditing.material import open_material
from eyesight.system.environment import environment
from eyesight.system.progress import Reporter

HERE = Path(__file__).parent
LONGEST = 3600.0  # seconds that features may take


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    material = open_material(options.data, LONGEST, Reporter())
    began = time.monotonic()
    deadline = began + LONGEST
    backbone = features.backbone_at_hand()
    computed = features.compute(material.images, material.store.key, deadline, Reporter(), backbone)
    feature_seconds = time.monotonic() - began
    searches = []
    for _ in range(options.repeats):
        load = os.getloadavg()[0]
        began, processor = time.monotonic(), time.process_time()
        search = copies.find_pairs(material.images, computed, lambda done, total: None)
        searches.append(
            {
                "seconds": round(time.monotonic() - began, 1),
                "processor_seconds": round(time.process_time() - processor, 1),
                "load_before": round(load, 2),
            }
        )
        print(json.dumps(searches[-1]), flush=True)
    name = Path(options.data).name.partition(".")[0]
    file = HERE / "results" / f"duplicate_search_{name}.json"
    written = {
        "command": f"python benchmarks/duplicate_search.py {Path(options.data).name}",
        "images": len(material.images),
        "features": computed.source,
        "feature_seconds_or_reading": round(feature_seconds, 1),
        "searches": searches,
        "candidates": search.candidates,
        "pairs": len(search.pairs),
        "doubtful": len(search.doubtful),
        "environment": environment(threads=torch.get_num_threads(), device="cpu", seed=0),
    }
    file.write_text(json.dumps(written, indent=2) + "\n")
    print(file)


if __name__ == "__main__":
    main()
