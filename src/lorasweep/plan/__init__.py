"""What a run takes: memory, time, disk and schedule, counted on tensors without memory."""
