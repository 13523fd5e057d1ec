"""The engine behind the verdicts: accuracies become intervals and answers, without files, tables and prose.

`model` fits a sweep. `comparisons`, `optimizers` and `attributes` answer from the fitted model, `seeds_needed` says how
many seeds an answer takes, and `failures` and `time_to_target` treat runs that diverged or never reached a target.
"""
