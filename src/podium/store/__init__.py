"""What is remembered: the event log, snapshots, inbox, blobs and the views over them."""
