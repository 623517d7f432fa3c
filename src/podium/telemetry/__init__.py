"""What Podium says of itself: structured logs now; metrics and traces have their place here."""
