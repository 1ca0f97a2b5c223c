"""Names of a trial's files that are read again, for programs that have no time to import TensorFlow."""

SCORES_FILE, HISTORY_FILE, WEIGHTS_FILE = "scores.csv", "history.csv", "trained_weights.npz"
REPORT_FILE = "evaluation.json"
