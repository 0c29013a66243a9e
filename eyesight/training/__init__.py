"""How a network learns: the loop, checkpoints, time budgets, optimisers, transfer."""
