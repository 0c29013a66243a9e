"""imagededup's hashes, run by audit_copies.py in an environment of its own.

python hashes.py FOLDER OUT.json     FOLDER holds PNG files; OUT gets, for each method and distance,
the pairs of names
"""

import json
import sys
from pathlib import Path

from imagededup.methods import AHash, DHash, PHash, WHash

METHODS = (PHash, DHash, AHash, WHash)
DISTANCES = (0, 4, 10)  # 10 is imagededup's own choice

result = {}
for method in METHODS:
    hasher = method(verbose=False)
    encodings = hasher.encode_images(sys.argv[1])
    for distance in DISTANCES:
        copies = hasher.find_duplicates(
            encoding_map=encodings,
            max_distance_threshold=distance,
            search_method="brute_force_cython",
        )
        pairs = {tuple(sorted((one, other))) for one in copies for other in copies[one]}
        result[f"{method.__name__} distance {distance}"] = sorted(pairs)
with Path(sys.argv[2]).open("w") as file:
    json.dump(result, file)
