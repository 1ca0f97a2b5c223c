"""Names of the metrics, for programs that have no time to import scikit-learn."""

METRIC_NAMES = (
    "roc_auc",
    "pr_auc",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "brier",
    "ece",
    "loss",
)
"""What `pneumo_core.evaluation.compute_metrics` returns, in this order."""

LOWER_IS_BETTER = ("brier", "ece", "loss")
