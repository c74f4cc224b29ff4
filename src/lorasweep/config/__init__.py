"""What a run is: every knob, its default, unit and check; YAML and overrides in, plain dataclasses out."""
