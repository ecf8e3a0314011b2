"""What is measured in episodes, and what acting costs."""
