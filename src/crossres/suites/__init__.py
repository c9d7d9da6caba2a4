"""What to run.

Suite files and the configuration enter; resolved specs leave. A spec is checked where no torch is installed, so a
distillation method names its tensors in annotations only. May import: `base`, `files`.
"""
