"""Training: the loop, checkpoints, time budgets, optimisers, transfer learning."""
