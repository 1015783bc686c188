//! Training recipe: schedule, trainer, checkpoints, evaluation
