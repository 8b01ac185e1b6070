"""What operators run: the doctor, drills, metrics."""
