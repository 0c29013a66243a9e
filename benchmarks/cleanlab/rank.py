"""cleanlab's label quality scores, run by audit_labels.py in an environment of its own.

python rank.py IN.npz OUT.npz      IN holds labels (n) and probabilities (n,K); OUT gets one array a
method, lower is more suspicious
"""

import sys

import numpy as np
from cleanlab.rank import get_label_quality_scores

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")

with np.load(sys.argv[1], allow_pickle=False) as given:
    labels = given["labels"]
    probabilities = given["probabilities"]
scores = {
    method: get_label_quality_scores(labels, probabilities, method=method) for method in METHODS
}
np.savez(sys.argv[2], **scores)
