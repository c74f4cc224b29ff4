"""Images in; vectors, boxes, landmarks and texture figures out."""
