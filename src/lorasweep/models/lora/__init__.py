"""The LoRA layer that families share, and LoRA files."""
