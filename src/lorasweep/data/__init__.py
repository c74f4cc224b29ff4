"""What is on disk: photos read and split; the frozen records that flow between rooms."""
