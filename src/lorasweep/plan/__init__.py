"""What a run costs: memory, time, disk and schedule, counted on tensors without memory."""
