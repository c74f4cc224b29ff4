"""LoRA files that other trainers made: drawn, scored and picked from."""
