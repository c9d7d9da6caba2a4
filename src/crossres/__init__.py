"""Cross-resolution knowledge distillation: a run is a function of its spec, its data and its teacher."""

__version__ = "0.1.0"
