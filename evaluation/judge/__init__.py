"""What the episodes say: measures, their uncertainty, and the summary of both."""
