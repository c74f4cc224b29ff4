"""What makes a run on a tiny random model one that is drawn and judged, cheaply."""

KEPT = ("p1_plain", "p4_expression")
DROPPED = ("p2_side", "p3_scene", "p5_accessory", "p6_sketch", "p7_outside", "p8_class")
JUDGED = [
    *(f"sample.prompts.{key}.face=false" for key in KEPT),  # nothing on this model has a face
    *(f"~sample.prompts.{key}" for key in DROPPED),
    *("evaluate.enabled=true", "evaluate.budget=null", "track.mlflow=false"),
    *("sample.seeds=[0]", "sample.fresh_seeds=[1000]", "sample.steps=2", "sample.guidance=1"),
]
